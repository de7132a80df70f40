"""The keys of issuers that publish them: fetched in the background, never while a miner waits.

A set that cannot be had or is not one of public keys leaves the last good one standing, and its page says why.
"""

import json
import logging
from datetime import timedelta
from ipaddress import ip_address
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from access.audit import change_record
from miners.manifests.keys import BadKeys, public_keys
from miners.models import ManifestIssuer
from poolhub.common import clock
from poolhub.common.outbound import Client, OutboundError

logger = logging.getLogger(__name__)

LIMIT_S = 5.0
MAX_BYTES = 256 * 1024
RETRY_S = 60  # after a failure, and at least between two fetches that tokens ask for
MAX_ERROR = 300


class BadURL(ValueError):
    """The text says why."""


def issuer_save(*, issuer: ManifestIssuer, changed: list[str]) -> None:
    """Write what a form has changed, and no more: keys may be fetched meanwhile.

    Waits for manifests that are being accepted, so that none is after the issuer was disabled.
    """
    if issuer.pk is None:
        issuer.save()
        return
    with transaction.atomic():
        ManifestIssuer.objects.select_for_update().get(pk=issuer.pk)
        if "jwks_url" in changed:
            issuer.fetch_due_at, issuer.fetched_at, issuer.fetch_error = None, None, ""
            changed = [*changed, "fetch_due_at", "fetched_at", "fetch_error"]
        issuer.save(update_fields=changed)


def issuer_fetch_soon(*, issuer: ManifestIssuer) -> bool:
    """Have the keys fetched within seconds; False where they are not fetched at all."""
    with transaction.atomic():
        if not ManifestIssuer.objects.filter(pk=issuer.pk).exclude(jwks_url="").update(fetch_due_at=None):
            return False
        before = {"fetch_due_at": issuer.fetch_due_at}
        change_record(action="keys to be fetched now", obj=issuer, before=before, after={"fetch_due_at": None})
    return True


def url_check(url: str) -> None:
    """Keys come over TLS, or from an address that OUTBOUND_ALLOW names. Raises BadURL."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadURL("It is no URL.") from error
    if not host or parts.username is not None or parts.password is not None or parts.fragment:
        raise BadURL("It must be like https://host/path, without user, password and #.")
    if parts.scheme == "https" or (parts.scheme == "http" and _is_own(host)):
        return
    raise BadURL("It must be https; http only to an address that OUTBOUND_ALLOW names.")


def keys_want(*, issuer: ManifestIssuer, now: float) -> None:
    """A token names a key that is not here: fetch the keys soon, unless that was tried a moment ago."""
    at = clock.to_datetime(now)
    before = at - timedelta(seconds=RETRY_S)
    fresh = Q(fetched_at=None) | Q(fetched_at__lt=before)
    due = ManifestIssuer.objects.filter(fresh, pk=issuer.pk, fetch_due_at__gt=at, fetch_error="")
    due.exclude(jwks_url="").update(fetch_due_at=at)


def keys_refresh(*, stop: Event | None = None) -> int:
    """Fetch the keys of every issuer whose time has come; of how many that went well."""
    at = clock.to_datetime(clock.now())
    due = Q(fetch_due_at=None) | Q(fetch_due_at__lte=at)
    issuers = list(ManifestIssuer.objects.filter(due, enabled=True).exclude(jwks_url=""))
    if not issuers:
        return 0
    with Client(connections=1) as client:
        return sum(_fetch(issuer, client) for issuer in issuers if stop is None or not stop.is_set())


def _fetch(issuer: ManifestIssuer, client: Client) -> bool:
    try:
        keys = _keys_at(issuer.jwks_url, client)
    except (OutboundError, BadKeys, BadURL) as error:
        found, told = {}, str(error)[:MAX_ERROR]
        if issuer.fetch_error != told:
            logger.warning("no keys of %s: %s", issuer.issuer, told)
    else:
        found, told = {"jwks": {"keys": keys}, "fetched_at": clock.to_datetime(clock.now())}, ""
    wait_s = min(issuer.refresh_s, RETRY_S) if told else issuer.refresh_s
    due_at = clock.to_datetime(clock.now() + wait_s)
    # not where the URL was changed meanwhile
    kept = ManifestIssuer.objects.filter(pk=issuer.pk, jwks_url=issuer.jwks_url)
    kept.update(**found, fetch_error=told, fetch_due_at=due_at)
    return not told


def _keys_at(url: str, client: Client) -> list[dict[str, Any]]:
    url_check(url)
    answer = client.request("GET", url, limit_s=LIMIT_S, max_bytes=MAX_BYTES, headers={"Accept": "application/json"})
    if answer.status != 200:
        raise OutboundError(f"the answer is {answer.status}")
    if not answer.complete:
        raise OutboundError(f"the answer has more than {MAX_BYTES} bytes")
    try:
        read = json.loads(answer.content)
    except (ValueError, RecursionError) as error:
        raise BadKeys("The answer is not JSON.") from error
    return public_keys(read)


def _is_own(host: str) -> bool:
    try:
        return any(ip_address(host) in network for network in settings.OUTBOUND_ALLOW)
    except ValueError:  # a name
        return False
