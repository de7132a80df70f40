"""A store that is slow keeps reservations waiting, for a while, and nobody else."""

import threading
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


class Moments:
    """In place of the module `time`: it goes on when it is told to, and notes who sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds


def test_after_a_long_turn_the_next_one_comes_as_much_later(monkeypatch) -> None:
    moments = Moments()
    monkeypatch.setattr(turns, "time", moments)
    monkeypatch.setattr(turns, "_turns", turns._Turns())
    for took_s in (0.2, 5.0, 0.04, 0.0):  # a slow store, one that is slower still, and quick ones
        with turn():
            moments.now += took_s
            with turn():  # within one's own
                pass
    assert moments.slept == [0.2, turns.MAX_REST_S]
    with turn():
        moments.now += 0.2
    moments.now += 0.15
    with turn():
        pass
    assert moments.slept[2:] == [0.05]


def test_a_hold_is_accepted_and_ended_though_the_store_is_slow(client) -> None:
    assert first(client, "j1") == "a"
    with somebody_asks_a_slow_store():
        job_settle(job_id="j1", miner_id="a", outcome=Outcome.ACCEPTED, ended=[])
        assert own("a") == 1
        job_settle(job_id="j1", miner_id="a", outcome=Outcome.COMPLETED, ended=[])
        assert own("a") == 0
