"""Jobs that end in a settlement event."""

import base64
import json
from typing import Any

from django.test import Client

from poolhub.common import clock
from settlement.models import SettlementEvent
from settlement.services.delivery import events_deliver
from tests.feedback.builders import send
from tests.matching.builders import match
from tests.miners.builders import register
from tests.receivers import Site


def secret_of(text: str) -> str:
    return "whsec_" + base64.b64encode(text.ljust(32, ".").encode()).decode()


SECRET = secret_of("first")
DAY_S = 86_400


def complete(job_id: str = "j1", miner_id: str = "m1", tokens: Any = "0.25", **more: Any) -> Any:
    """The answer to completed feedback."""
    return send("completed", miner_id, job_id, tokens_spent=tokens, **more)


def completed(job_id: str = "j1", miner_id: str = "m1", tokens: Any = "0.25") -> SettlementEvent:
    """The event of a job that a registered miner has completed."""
    assert complete(job_id, miner_id, tokens).status_code == 201
    return event(job_id, miner_id)


def event(job_id: str = "j1", miner_id: str = "m1") -> SettlementEvent:
    return SettlementEvent.objects.get(job_id=job_id, miner_id=miner_id)


def data(job_id: str = "j1", miner_id: str = "m1") -> Any:
    return json.loads(event(job_id, miner_id).body)["data"]


def miner(miner_id: str = "m1", **fields: Any) -> str:
    """A miner in registry and database; its session token."""
    return register(miner_id, **{"wallet_address": f"wallet-of-{miner_id}", "max_parallel": 8, **fields})


def matched(job_id: str = "j1", **body: Any) -> Any:
    return match(Client(), job_id, **body)


def deliver(times: int = 1, *, wait_s: float = DAY_S) -> None:
    """Rounds of deliveries, so far apart on the fake clock that whatever waits is due again."""
    for number in range(times):
        if number:
            clock._clock.advance(wait_s)  # type: ignore[attr-defined]
        events_deliver()


def jobs_at(site: Site) -> list[str]:
    """The jobs of which events came, in the order in which they came."""
    return [json.loads(each.body)["data"]["job_id"] for each in site.got]
