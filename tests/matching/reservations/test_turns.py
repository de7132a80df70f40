"""A store that is slow keeps reservations waiting, for a while, and nobody else."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from matching.reservations import turns
from matching.reservations.durable import job_settle
from matching.reservations.holds import Outcome
from matching.reservations.turns import turn
from tests.matching.builders import ask, first, own, pool, reserve

pytestmark = pytest.mark.django_db


@contextmanager
def somebody_asks_a_slow_store() -> Iterator[None]:
    asked, over = threading.Event(), threading.Event()

    def wait() -> None:
        with turn():
            asked.set()
            over.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    asked.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(autouse=True)
def impatient(registry, monkeypatch) -> None:
    monkeypatch.setattr(turns, "WAIT_S", 0.05)
    pool("a", "b", max_parallel=2)


def test_who_waits_too_long_for_a_turn_is_refused_and_matches_go_on(client) -> None:
    with somebody_asks_a_slow_store():
        for body in ({"reserve": True}, {"requests": [{"job_id": "j2", "reserve": True}]}):
            path = "/v1/match/batch" if "requests" in body else "/v1/match"
            reply = ask(client, path, **body)
            told = reply.json()["results"][0] if "requests" in body else reply.json()
            assert (told["status"], told["code"]) == (503, "unavailable")
        assert first(client, "j3") == "a"
    assert reserve(client, "j1")["miner_id"] == "a"


def test_after_a_long_turn_the_registry_is_free_for_as_long(registry, monkeypatch) -> None:
    monkeypatch.setattr(turns, "WAIT_S", 10.0)
    with turn(), registry.lock:
        threading.Event().wait(0.2)  # as long as a slow store takes
    ended, took_s = time.monotonic(), []
    with turn():
        took_s.append(time.monotonic() - ended)
        with turn():  # within one's own
            pass
    with turn():
        took_s.append(time.monotonic() - ended)
    assert 0.15 < took_s[0] < took_s[1]


def test_a_hold_is_accepted_and_ended_though_the_store_is_slow(client) -> None:
    assert first(client, "j1") == "a"
    with somebody_asks_a_slow_store():
        job_settle(job_id="j1", miner_id="a", outcome=Outcome.ACCEPTED, ended=[])
        assert own("a") == 1
        job_settle(job_id="j1", miner_id="a", outcome=Outcome.COMPLETED, ended=[])
        assert own("a") == 0
