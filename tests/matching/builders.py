"""Pools and jobs for tests of matches: the shortest way to have them. A match never touches the database, nor do these."""

from typing import Any

from django.test import Client

from matching.reservations.base import Reservation, once_filled
from matching.reservations.holds import Outcome
from matching.reservations.runtime import get_ledger
from miners.registry.records import MinerRow, Report
from miners.registry.runtime import get_registry
from poolhub.common import clock
from tests.miners.registry.builders import row

SECRET = "coordinator-secret-for-tests"
COORDINATOR = {"X-Coordinator-Secret": SECRET}
UNITS = 10**8


def tokens(price: float) -> int:
    """In the registry's unit."""
    return round(price * UNITS)


def add(miner_id: str = "m1", **fields: Any) -> MinerRow:
    """A miner that was heard of just now; adding it again changes it."""
    registry, now = get_registry(), clock.now()
    held = registry.get(miner_id, now=now)
    known = {"version": held.row.version + 1, "pk": held.row.pk} if held else {"version": 1}
    made = row(miner_id, **{**known, **fields})
    assert registry.upsert(made, now=now, last_seen=now)
    return made


def pool(*miner_ids: str, **fields: Any) -> None:
    """Miners that differ in their price alone: each is a tenth of a token dearer than the one before."""
    for i, miner_id in enumerate(miner_ids):
        add(miner_id, **{"price": tokens(0.1 * (i + 1)), **fields})


def report(miner_id: str = "m1", **said: Any) -> None:
    assert get_registry().report(miner_id, Report(at=clock.now(), **said))


def ask(client: Client, path: str = "/v1/match", **body: Any) -> Any:
    """POST a match body; without a job_id it is job j1's."""
    return client.post(path, {"job_id": "j1", **body}, content_type="application/json", headers=COORDINATOR)


def match(client: Client, job_id: str = "j1", **body: Any) -> Any:
    """The answer to a match."""
    reply = ask(client, job_id=job_id, **body)
    assert reply.status_code == 200, reply.content
    return reply.json()


def first(client: Client, job_id: str = "j1", **body: Any) -> str | None:
    """The miner that a job is offered first."""
    found = match(client, job_id, **body)["candidates"]
    return found[0]["miner_id"] if found else None


def reserve(client: Client, job_id: str = "j1", **body: Any) -> Any:
    """The reservation in the answer, None without one."""
    return match(client, job_id, reserve=True, **body).get("reservation")


def tell(job_id: str, miner_id: str, outcome: str) -> None:
    """What feedback tells the ledger."""
    get_ledger().settle(job_id, miner_id, Outcome(outcome), now=clock.now())


def own(miner_id: str = "m1") -> int:
    """Live reservations and holds of a miner, as the registry counts them."""
    found = get_registry().get(miner_id, now=clock.now())
    assert found is not None
    return found.live.own


def reservations() -> list[Reservation]:
    return once_filled(lambda: get_ledger().live(now=clock.now()))


def fields_of(reply: Any) -> dict[str, str]:
    """The fields that a 422 names, with the code of each."""
    assert reply.status_code == 422, reply.content
    return {error["field"]: error["code"] for error in reply.json()["errors"]}
