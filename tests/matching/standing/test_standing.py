"""`GET /v1/miners/standing`: what a miner is told of the last day, against a count that asks about each miner and match."""

import random
from collections import Counter, defaultdict
from decimal import Decimal
from statistics import median_high, median_low
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from matching.models import StandingPart
from matching.standing import counting
from matching.standing.counting import HOUR_S, Standing, standing_purge
from matching.standing.tally import KEPT
from miners.registry import runtime
from tests.matching.builders import add, ask, match, tokens
from tests.miners.builders import register

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/v1/miners/standing"


@pytest.fixture
def new_process(monkeypatch, settings):
    """Standing as another process has it; matches from here on are its."""
    settings.SOFT_HOLD_MS = 0

    def start(**how: Any) -> Standing:
        made = Standing(**{"share": float("inf"), "seed": 1, **how})
        monkeypatch.setattr("matching.services.standing", made)
        return made

    return start


@pytest.fixture
def told(client):
    """What a miner is told, with the session that it has."""
    tokens_of: dict[str, str] = {}

    def ask_for(miner_id: str) -> Any:
        reply = client.get(URL, headers={"Authorization": f"Bearer {tokens_of[miner_id]}"})
        assert reply.status_code == 200, reply.content
        return reply.json()

    def enrol(miner_id: str, **profile: Any) -> None:
        if "price_token_per_ksec" in profile:
            profile["price_token_per_ksec"] = Decimal(str(profile["price_token_per_ksec"]))
        tokens_of[miner_id] = register(miner_id, **profile)

    ask_for.enrol = enrol  # type: ignore[attr-defined]
    return ask_for


def why_not(client, miner_id: str, **body: Any) -> Any:
    return ask(client, "/v1/match/why-not", miner_id=miner_id, **body).json()


def test_it_is_what_a_naive_count_of_every_match_and_miner_comes_to(client, new_process, told) -> None:
    draw, process = random.Random(5), new_process()
    ids = [f"m{number}" for number in range(12)]
    for each in ids:
        told.enrol(each, price_token_per_ksec=draw.choice([0.2, 0.5, 0.9]), region=draw.choice(["eu", "us"]),
                   gpu_vram=draw.choice([8, 24]), max_parallel=4)  # fmt: skip
    want: dict[str, Any] = {each: Counter() for each in ids}
    ranks, prices = defaultdict(list), defaultdict(list)
    for number in range(KEPT):
        body = {
            "requirements": {"min_vram_gb": draw.choice([1, 16])},
            "hints": {"region": draw.choice(["eu", "us"]), "max_price": draw.choice([0.6, 1.0])},
            "top_k": draw.choice([1, 3]),
        }
        asked = {each: why_not(client, each, **body) for each in ids}
        answer = match(client, f"j{number}", **body)
        offered = [each["miner_id"] for each in answer["candidates"]]
        assert process.look() == 1
        for each in ids:
            want[each]["considered"] += 1
            want[each]["offered"] += each in offered
            want[each]["first"] += offered[:1] == [each]
            if asked[each]["eligible"]:
                want[each]["eligible"] += 1
                ranks[each].append(asked[each]["rank"])
            else:
                want[each][asked[each]["failed"][0]["constraint"]] += 1
            price = winning_price(client, told, each, body) if offered[:1] != [each] else None
            if price is not None:
                prices[each].append(price)
    assert process.write() > 0
    for each in ids:
        got, counted = told(each), want[each]
        assert {name: got[name] for name in ("considered", "eligible", "offered", "first")} == {
            name: counted[name] for name in ("considered", "eligible", "offered", "first")
        }
        assert got["rejected"] == {name: counted[name] for name in got["rejected"]}
        assert sum(got["rejected"].values()) + got["eligible"] == got["considered"] == KEPT
        assert got["median_rank"] == (median_low(ranks[each]) if ranks[each] else None)
        assert got["lost_on_price"] == len(prices[each])
        if prices[each]:
            assert got["price_to_be_first"] == pytest.approx(median_high(prices[each]), abs=2e-5)
        assert got["surveys"] == KEPT
    assert any(told(each)["lost_on_price"] for each in ids)
    assert any(told(each)["rejected"] for each in ids)


def winning_price(client, told, miner_id: str, body: Any) -> float | None:
    """The highest price at which the miner is first, by trying: it is given the price, and the match is asked anew."""
    held = runtime.get_registry().get(miner_id, now=counting.clock.now())
    assert held is not None

    def first_at(price: float) -> bool:
        change(miner_id, price)
        asked = match(client, "trial", **{**body, "dry_run": True, "top_k": 1})
        return [each["miner_id"] for each in asked["candidates"]] == [miner_id]

    def change(miner_id: str, price: float) -> None:
        row = runtime.get_registry().get(miner_id, now=counting.clock.now()).row
        fields = {name: getattr(row, name) for name in row.__dataclass_fields__ if name not in ("miner_id", "version")}
        add(miner_id, **{**fields, "price": tokens(price)})

    own = held.price / 10**8
    low, high = 1e-6, own
    try:
        if not first_at(low):
            return None
        while high - low > 1e-6:
            middle = (low + high) / 2
            low, high = (middle, high) if first_at(middle) else (low, middle)
        return low
    finally:
        change(miner_id, own)


def test_a_sample_stands_for_all_matches(client, new_process, told, monkeypatch) -> None:
    told.enrol("small", gpu_vram=8)
    told.enrol("large", gpu_vram=80, price_token_per_ksec=1)
    process = new_process(drawn=40)
    for number in range(400):
        match(client, f"j{number}", requirements={"min_vram_gb": 16 if number % 4 else 1})
    assert process.look() == 40
    process.write()
    small, large = told("small"), told("large")
    assert (small["considered"], large["considered"], small["surveys"]) == (400, 400, 40)
    assert large["eligible"] == 400
    assert 220 <= small["rejected"]["min_vram_gb"] <= 380  # 300; 3 standard deviations are 78
    assert small["eligible"] == 400 - small["rejected"]["min_vram_gb"]
    assert small["first"] + large["first"] == 400  # these are counted, not drawn


def test_surveys_take_no_more_time_than_their_share_and_nothing_is_forgotten_meanwhile(
    client, new_process, told, monkeypatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(counting.time, "monotonic", lambda: now[0])
    told.enrol("m1")
    process = new_process(share=0.01)
    match(client, "j0")
    assert process.look() == 1  # what one costs is not known yet
    process._cost_s = 0.05
    for number in range(20):
        match(client, f"j{number}")
    now[0] += 4
    assert process.look() == 0
    now[0] += 1
    assert process.look() == 1
    process._write_at = 0
    process.write()
    assert (told("m1")["considered"], told("m1")["surveys"]) == (21, 2)
    match(client, "last")
    process._cost_s, now[0] = 0.02, now[0] + 3600
    assert process.look() == 1  # an idle hour has earned no more than BURST_S


def test_processes_are_added_up_and_hours_pass(client, new_process, told, fake_clock) -> None:
    told.enrol("m1")
    for count in (3, 2):
        process = new_process()
        for number in range(count):
            match(client, f"j{number}")
        process.look()
        process.write()
        process._write_at = 0
        process.write()  # again, which adds nothing
    assert (told("m1")["considered"], told("m1")["first"]) == (5, 5)
    fake_clock.advance(HOUR_S)
    told.enrol("m1")
    match(client, "next hour")
    process.look()
    process._write_at = 0
    process.write()
    assert told("m1")["considered"] == 6
    assert StandingPart.objects.values("hour").distinct().count() == 2
    fake_clock.advance(24 * HOUR_S)
    told.enrol("m1")
    assert told("m1")["considered"] == 1  # the first hour is out of the window
    assert standing_purge() == 2
    fake_clock.advance(2 * HOUR_S)
    told.enrol("m1")
    assert told("m1")["considered"] == 0
    assert standing_purge() == 1


def test_an_hour_that_ends_is_stored_before_the_next_begins(client, new_process, told, fake_clock) -> None:
    told.enrol("m1")
    process = new_process()
    match(client, "j1")
    process.look()
    fake_clock.advance(HOUR_S)
    process.look()
    told.enrol("m1")
    assert told("m1")["considered"] == 1


def test_dry_runs_why_not_and_subscriptions_do_not_count(client, new_process, told) -> None:
    told.enrol("m1")
    process = new_process()
    match(client, "j1", dry_run=True)
    why_not(client, "m1")
    ask(client, "/v1/match/batch", requests=[{"job_id": "b1"}, {"job_id": "b2", "dry_run": True}, {"job_id": ""}])
    process.look()
    process.write()
    assert (told("m1")["considered"], told("m1")["first"]) == (1, 1)


def test_the_job_s_own_hold_does_not_count_against_its_miner(client, new_process, told, settings) -> None:
    told.enrol("m1", max_parallel=1)
    process = new_process()
    settings.SOFT_HOLD_MS = 60_000
    match(client, "j1")
    process.look()
    process.write()
    assert (told("m1")["eligible"], told("m1")["rejected"], told("m1")["rank_percentile"]) == (1, {}, 100)


def test_a_new_miner_has_no_standing_yet(client, told) -> None:
    told.enrol("m1", price_token_per_ksec=0.5)
    assert told("m1") == {
        "miner_id": "m1", "since": told("m1")["since"], "considered": 0, "eligible": 0, "offered": 0, "first": 0,
        "rejected": {}, "median_rank": None, "rank_percentile": None, "lost_on_price": 0, "price": 0.5,
        "price_to_be_first": None, "surveys": 0,
    }  # fmt: skip


def test_it_takes_a_live_session_and_tells_of_its_own_miner_alone(client, told) -> None:
    assert client.get(URL).status_code == 401
    assert client.get(URL, headers={"X-Admin-Secret": "admin-secret-for-tests"}).status_code == 401
    assert client.post(URL).status_code == 405
    told.enrol("a")
    told.enrol("b")
    assert told("b")["miner_id"] == "b"


def test_an_answer_is_one_query_and_a_match_is_none(client, new_process, told) -> None:
    for number in range(30):
        told.enrol(f"m{number}")
    process = new_process()
    with CaptureQueriesContext(connection) as asked:
        match(client, "j1")
    assert asked.captured_queries == []
    process.look()
    process.write()
    with CaptureQueriesContext(connection) as asked:
        told("m7")
    assert len(asked) == 1


def test_a_row_of_another_version_is_passed_over(client, new_process, told, monkeypatch) -> None:
    told.enrol("m1")
    process = new_process()
    match(client, "j1")
    process.look()
    with monkeypatch.context() as patched:
        patched.setattr("matching.standing.packing.FORMAT", 99)
        process.write()
    assert told("m1")["considered"] == 0
