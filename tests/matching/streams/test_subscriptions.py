"""Standing subscriptions, on the thread that ranks them."""

import time
from collections.abc import Iterator
from queue import Empty, Queue
from random import Random
from typing import Any

import pytest

from matching.queries import query_of, weights_by_default
from matching.scoring import pipeline
from matching.serializers import Hints, MatchRequest, Requirements
from matching.streams import subscriptions as module
from matching.streams.subscriptions import PERIOD_S, Subscription, Subscriptions
from miners.registry.runtime import get_registry
from poolhub.common import clock
from poolhub.common.metrics import STREAM_RANKINGS
from tests.matching.builders import add, report, tokens
from tests.waiting import until

LIMIT_S = 10.0


@pytest.fixture
def standing(registry) -> Iterator[Subscriptions]:
    made = Subscriptions()
    yield made
    for each in list(made._turn):
        made.drop(each)
    ended(made)


def ended(made: Subscriptions) -> bool:
    thread = made._thread
    if thread is not None:
        thread.join(LIMIT_S)
    return made._thread is None


class Told:
    """What one subscriber is told."""

    def __init__(self, made: Subscriptions, region: str | None = "eu", top_k: int = 3, **asked: Any) -> None:
        self.request = MatchRequest(
            job_id="j", top_k=top_k, hints=Hints(region=region), requirements=Requirements(**asked)
        )
        self.came: Queue[tuple[float, list[str]]] = Queue()
        self.subscription = made.add(self.request, self._take)

    def _take(self, _: Subscription, result: Any) -> None:
        self.came.put((time.monotonic(), [each.miner_id for each in result.candidates]))

    def next(self) -> list[str]:
        return self.came.get(timeout=LIMIT_S)[1]

    def nothing(self, seconds: float = 4 * PERIOD_S) -> bool:
        """What comes all the same is kept."""
        try:
            self.came.put(self.came.get(timeout=seconds))
        except Empty:
            return True
        return False


def rankings() -> float:
    return STREAM_RANKINGS._value.get()


def test_the_first_answer_comes_at_once_also_with_nobody_in_it(standing) -> None:
    assert Told(standing).next() == []
    add("a", region="eu")
    assert Told(standing).next() == ["a"]


def test_an_update_comes_when_the_candidates_or_their_order_change_and_only_then(standing) -> None:
    add("a", region="eu", price=tokens(0.5))
    told = Told(standing)
    assert told.next() == ["a"]
    assert told.nothing()
    add("b", region="eu", price=tokens(0.1))
    assert told.next() == ["b", "a"]
    report("b", queue_len=1)  # scores change, the order does not
    assert told.nothing()
    add("b", region="eu", price=tokens(0.9))
    assert told.next() == ["a", "b"]
    get_registry().remove("a")
    assert told.next() == ["b"]


def test_time_alone_changes_answers_too(standing, fake_clock) -> None:
    add("a", region="eu")
    told = Told(standing)
    assert told.next() == ["a"]
    fake_clock.advance(121)
    assert told.next() == []


def test_only_what_it_could_take_has_a_subscription_ranked_again(standing, monkeypatch) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 3600.0)
    add("a", region="eu", capabilities=("llama",))
    add("b", region="us", capabilities=("llama",))
    add("c", region="eu")
    told = Told(standing, capabilities_any=["llama"])
    assert told.next() == ["a"]
    other = Told(standing, region="us")
    assert other.next() == ["b"]
    before = rankings()
    report("b", queue_len=1)
    until(lambda: rankings() == before + 1)  # the other one
    report("c", queue_len=1)
    assert told.nothing()
    assert rankings() == before + 1
    report("a", queue_len=1)
    until(lambda: rankings() == before + 2)
    add("c", region="eu", capabilities=("llama",))
    assert set(told.next()) == {"a", "c"}
    add("a", region="eu")  # whom it took before
    assert told.next() == ["c"]


def test_a_subscription_that_asks_for_live_values_sees_them_change(standing) -> None:
    add("a", region="eu")
    report("a", latency_ms=100.0, mem_free_gb=4.0)
    roomy = Told(standing, min_mem_free_gb=8)
    assert roomy.next() == []
    report("a", mem_free_gb=9.0)
    assert roomy.next() == ["a"]


def test_parts_of_the_score_that_drift_are_looked_at_again_after_a_while(standing, monkeypatch) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 0.3)
    told = Told(standing)
    assert told.next() == []
    before = rankings()
    until(lambda: rankings() >= before + 3)


def test_updates_come_at_most_every_period_and_the_newest_in_the_end(standing) -> None:
    add("a", region="eu", price=tokens(0.5))
    told = Told(standing)
    began = time.monotonic()
    for turn in range(60):
        add("b", region="eu", price=tokens(0.9 if turn % 2 else 0.1))
        time.sleep(0.01)
    came = [told.came.get(timeout=LIMIT_S)]
    while not told.came.empty() or not told.nothing(0.5):
        came.append(told.came.get())
    assert came[-1][1] == ["a", "b"]
    assert 2 <= len(came) <= (came[-1][0] - began) / PERIOD_S + 1


def test_a_dropped_subscription_is_told_nothing_and_the_thread_ends_with_the_last(standing) -> None:
    first, second = Told(standing), Told(standing)
    assert (first.next(), second.next()) == ([], [])
    standing.drop(first.subscription)
    standing.drop(first.subscription)
    add("a", region="eu")
    assert second.next() == ["a"]
    assert first.came.empty()
    assert standing._thread is not None
    standing.drop(second.subscription)
    assert ended(standing)
    assert Told(standing).next() == ["a"]


def test_a_subscriber_that_fails_harms_no_other(standing, caplog) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a subscriber's fault")

    standing.add(MatchRequest(job_id="j"), fail)
    told = Told(standing)
    assert told.next() == []
    add("a", region="eu")
    assert told.next() == ["a"]
    assert "a round of match subscriptions failed" in caplog.text


def test_nothing_is_held_for_a_subscription(standing, registry) -> None:
    add("a", region="eu")
    assert Told(standing).next() == ["a"]
    assert registry.get("a", now=clock.now()).live.own == 0


@pytest.mark.parametrize("seed", range(3))
def test_after_any_changes_every_subscriber_has_what_a_match_would_answer(standing, registry, seed) -> None:
    random = Random(seed)
    for i in range(30):
        add(f"m{i:02}", region=random.choice(["eu", "us"]), price=tokens(random.random()), max_parallel=2)
    told = [Told(standing, region, 5, **asked) for region in ("eu", "us", None) for asked in ({}, {"min_trust": 0.5})]
    newest: dict[int, list[str]] = {}
    for _ in range(200):
        miner_id = f"m{random.randrange(30):02}"
        match random.randrange(4):
            case 0:
                add(miner_id, region=random.choice(["eu", "us"]), price=tokens(random.random()), max_parallel=2)
            case 1 if miner_id in registry:
                registry.remove(miner_id)
            case _ if miner_id in registry:
                report(miner_id, queue_len=random.randrange(3), latency_ms=float(random.randrange(100)))
        time.sleep(0.002)

    def agree() -> bool:
        for i, each in enumerate(told):
            while not each.came.empty():
                newest[i] = each.came.get()[1]
        with registry.lock:
            wanted = [
                pipeline.match(registry, query_of(each.request, default_weights=weights_by_default()), now=clock.now())
                for each in told
            ]
        return all(newest.get(i) == [c.miner_id for c in result.candidates] for i, result in enumerate(wanted))

    until(agree)
