"""Matches for which peer hubs are asked, and those for which they are not."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from matching.models import MatchRecord
from matching.peers import asking
from matching.peers.asking import HOPS, Peers
from matching.records import records
from tests.matching.builders import COORDINATOR, SECRET, add, ask, match, tokens
from tests.matching.peers.test_asking import ANSWER, results, serving, silent

Asked = list[tuple[dict[str, str], Any]]
SPILL = {"region": "eu", "spillover": True}


def candidate(miner_id: str, score: float, **fields: Any) -> dict[str, Any]:
    return {**ANSWER["candidates"][0], "miner_id": miner_id, "score": score, **fields}  # type: ignore[index]


@pytest.fixture
def peer(settings, monkeypatch) -> Iterator[Callable[..., Asked]]:
    """Have one peer hub, us, which answers so."""
    stack: list[Any] = []

    def begin(act: Any) -> Asked:
        asked: Asked = []
        server = serving(act, asked)
        settings.HUB_NAME, settings.PEER_HUBS = "eu", {"us": server.__enter__()}
        settings.PEER_DEADLINE_MS = 5000
        made = Peers(settings.PEER_HUBS, secret=SECRET)
        monkeypatch.setattr(asking, "_peers", made)
        stack.append((made, server))
        return asked

    yield begin
    for made, server in stack:
        made.close()
        server.__exit__(None, None, None)


def told(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["hub"], each["miner_id"]) for each in answer["candidates"]]


def test_answers_are_merged_by_score_and_each_candidate_says_its_hub(client, peer) -> None:
    asked = peer(results({**ANSWER, "candidates": [candidate("high", 0.99), candidate("low", 0.01)]}))
    add("here", region="eu", price=tokens(0.2))
    answer = match(client, top_k=3, hints=SPILL, requirements={"min_vram_gb": 8})
    assert told(answer) == [("us", "high"), ("eu", "here"), ("us", "low")]
    assert answer["explain"] == answer["candidates"][0]["explain"] == "x"
    assert (answer["eligible"], answer["considered"], answer["rejected"]) == (1, 1, {})
    took_ms = answer["peers"]["us"].pop("took_ms")
    assert 0 < took_ms < 5000
    assert answer["peers"] == {"us": {"status": "ok", "eligible": 2, "considered": 3}}
    ((_, sent),) = asked
    assert sent == {"requests": [{"job_id": "j1", "requirements": {"min_vram_gb": 8.0}, "hints": SPILL, "top_k": 3}]}


def test_no_more_than_top_k_are_answered(client, peer) -> None:
    peer(results({**ANSWER, "candidates": [candidate("a", 0.99), candidate("b", 0.98), candidate("c", 0.97)]}))
    assert told(match(client, top_k=2, hints=SPILL)) == [("us", "a"), ("us", "b")]


def test_equal_scores_follow_price_and_then_id(client, peer) -> None:
    alike = [candidate("b", 0.5, price=0.2), candidate("a", 0.5, price=0.2), candidate("c", 0.5, price=0.1)]
    peer(results({**ANSWER, "candidates": alike}))
    assert told(match(client, top_k=3, hints=SPILL)) == [("us", "c"), ("us", "a"), ("us", "b")]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"hints": {"region": "eu"}}, {}),
        ({"hints": {"region": "eu", "spillover": False}}, {}),
        ({}, {}),
        ({"hints": SPILL, "top_k": 1}, {}),  # enough are here
        ({"hints": SPILL, "top_k": 3}, {HOPS: "1"}),  # a hub asks
    ],
)
def test_peers_are_not_asked(client, peer, body, headers) -> None:
    asked = peer(results(ANSWER))
    add("here", region="eu")
    reply = client.post(
        "/v1/match", {"job_id": "j", "top_k": 2, **body}, content_type="application/json",
        headers={**COORDINATOR, **headers},
    )  # fmt: skip
    assert reply.status_code == 200
    assert asked == []
    assert "peers" not in reply.json()
    assert all("hub" not in each for each in reply.json()["candidates"])


def test_a_peer_that_fails_is_told_and_costs_only_its_candidates(client, peer) -> None:
    peer(silent)
    add("here", region="eu")
    answer = match(client, top_k=2, hints=SPILL)
    assert told(answer) == [("eu", "here")]
    assert answer["peers"]["us"]["status"] == "failed"
    again = match(client, top_k=2, hints=SPILL)
    assert told(again) == [("eu", "here")]
    assert again["peers"] == {"us": {"status": "resting", "took_ms": 0.0}}


def test_with_nobody_anywhere_it_says_why_nobody_here(client, peer) -> None:
    peer(results({**ANSWER, "candidates": []}))
    answer = match(client, hints=SPILL)
    assert answer["candidates"] == []
    assert answer["explain"] == "no miner of 0 is eligible"


@pytest.mark.django_db(transaction=True)
def test_the_job_history_tells_this_hubs_own_part(client, peer) -> None:
    peer(results(ANSWER))
    add("here", region="eu")
    assert len(match(client, top_k=2, hints=SPILL)["candidates"]) == 2
    records.flush()
    (kept,) = MatchRecord.objects.get().candidates
    assert (kept["miner_id"], kept.get("hub")) == ("here", None)


@pytest.mark.django_db(transaction=True)
def test_a_reservation_is_made_here_and_its_miner_comes_first(client, peer) -> None:
    asked = peer(results({**ANSWER, "candidates": [candidate("high", 0.99)]}))
    add("here", region="eu")
    answer = match(client, top_k=2, hints=SPILL, reserve=True, reservation_ttl_ms=5000)
    assert answer["reservation"]["miner_id"] == "here"
    assert told(answer) == [("eu", "here"), ("us", "high")]
    ((_, sent),) = asked
    assert "reserve" not in sent["requests"][0]
    assert "reservation_ttl_ms" not in sent["requests"][0]


def test_a_batch_asks_each_peer_once_for_all_that_spill_over(client, peer) -> None:
    other = {**ANSWER, "candidates": [candidate("other", 0.4)]}
    asked = peer(results(ANSWER, other))
    reply = ask(client, "/v1/match/batch", requests=[
        {"job_id": "a", "hints": SPILL}, {"job_id": "b"}, {"top_k": 0}, {"job_id": "c", "hints": SPILL, "dry_run": True},
    ])  # fmt: skip
    first, second, third, fourth = reply.json()["results"]
    assert (told(first), told(fourth)) == ([("us", "m")], [("us", "other")])
    assert "peers" not in second
    assert third["status"] == 422
    ((_, sent),) = asked
    assert [(each["job_id"], each.get("dry_run")) for each in sent["requests"]] == [("a", None), ("c", True)]
