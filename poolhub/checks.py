"""What Django's checks cannot know of this project: combinations of settings that would lose data or lie."""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from poolhub.common.network import is_loopback

# how the usual servers are told their number of processes
WORKER_VARIABLES = ("WEB_CONCURRENCY", "GRANIAN_WORKERS", "UVICORN_WORKERS")


@register(Tags.compatibility)
def one_process_without_redis(**_: Any) -> list[CheckMessage]:
    """A second process would match on a registry that hears nothing of the first one's miners."""
    if settings.REDIS_URL:
        return []
    several = [name for name in WORKER_VARIABLES if _count(name) > 1]
    if not several:
        return []
    text = f"{several[0]} asks for {_count(several[0])} processes, but REDIS_URL is empty"
    return [Error(text, hint="Set REDIS_URL, or serve with one process.", id="poolhub.E001")]


@register(Tags.compatibility)
def settlement_on_a_chain(**_: Any) -> list[CheckMessage]:
    """What only web3's own packages can tell."""
    if settings.SETTLEMENT_BACKEND != "evm":
        return []
    if find_spec("web3") is None:
        text = "SETTLEMENT_BACKEND is evm, and web3 is not installed"
        return [Error(text, hint="pip install --require-hashes -r requirements-evm.txt", id="poolhub.E006")]
    if import_module("settlement.backends.evm.chain").address_of(settings.EVM_TOKEN_ADDRESS) is None:
        text = "EVM_TOKEN_ADDRESS has a wrong checksum: a digit is mistyped"
        return [Error(text, hint="Copy it anew from where the token is documented.", id="poolhub.E007")]
    return []


@register(Tags.security, deploy=True)
def production_settings(**_: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if not settings.PRODUCTION:
        text = "POOLHUB_ENV is not production"
        found.append(Error(text, hint="Set POOLHUB_ENV=production.", id="poolhub.E002"))
    if settings.ENROLLMENT == "open":
        text = "ENROLLMENT is open: anybody may take a new miner id"
        found.append(Error(text, hint="Set ENROLLMENT=closed and create miners in the admin.", id="poolhub.E003"))
    for name, url in settings.PEER_HUBS.items():
        if _in_clear(url):
            text = f"PEER_HUBS asks {name} without TLS: the secret and the jobs can be read on the way"
            found.append(Error(text, hint="Use its https address.", id="poolhub.E008"))
    if _in_clear(settings.SETTLEMENT_URL):
        text = "SETTLEMENT_URL is plain HTTP: who listens in reads what is settled, wallet addresses included"
        found.append(Error(text, hint="Use https, or a proxy on this machine that speaks it.", id="poolhub.E005"))
    unset = [name for name in ("COORDINATOR_SHARED_SECRET", "ADMIN_SHARED_SECRET") if not getattr(settings, name)]
    return found + [Error(f"{name} is empty: its routes answer 503", id="poolhub.E004") for name in unset]


def _in_clear(url: str) -> bool:
    """Whether it leaves this machine without TLS."""
    return url.startswith("http:") and not is_loopback(urlsplit(url).hostname or "")


def _count(name: str) -> int:
    text = os.environ.get(name, "").strip()
    return int(text) if text.isdecimal() and len(text) < 10 else 0
