"""The market in matches and listings: hints.max_price_vs_market, and each miner against its market."""

import time
from decimal import Decimal

import pytest
from django.test import Client

from market import runtime
from market.models import MarketVersion
from market.services.operators import alias_save
from miners.registry.market import MarketEntry, position_of
from tests.market.builders import offer, tell
from tests.matching.builders import add, ask, fields_of, match, tokens

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("market")]
ADMIN = {"X-Admin-Secret": "admin-secret-for-tests"}


def limit(client: Client, ratio: object, **more: object):
    return match(client, hints={"max_price_vs_market": ratio, **more}, top_k=50, dry_run=True)


def ids(answer) -> set[str]:
    return {each["miner_id"] for each in answer["candidates"]}


def test_a_price_is_limited_to_a_multiple_of_the_median_of_its_model_and_region(client) -> None:
    tell(offer(price=1, region="eu"), offer(price=2, region="us"))
    add("eu", gpu_name="NVIDIA GeForce RTX 4090", region="eu-west-1", price=tokens(1.1))
    add("eu-dear", gpu_name="RTX 4090", region="eu-west-1", price=tokens(1.1) + 1)
    add("us", gpu_name="4090", region="us", price=tokens(2.2))
    add("asia", gpu_name="4090", region="asia", price=tokens(1.65))  # all regions: 1.5
    add("asia-dear", gpu_name="4090", region="asia", price=tokens(1.66))
    add("unknown", gpu_name="H100", region="eu", price=tokens(1000))
    add("nameless", gpu_name="", region="eu", price=tokens(1000))
    answer = limit(client, 1.1)
    assert ids(answer) == {"eu", "us", "asia", "unknown", "nameless"}
    assert answer["rejected"] == {"max_price_vs_market": 2}


def test_it_comes_right_after_max_price(client) -> None:
    tell(offer(price=1))
    add("m1", region="eu", price=tokens(5), max_parallel=1)
    assert limit(client, 1, max_price=4)["rejected"] == {"max_price": 1}
    assert limit(client, 1, max_price=9)["rejected"] == {"max_price_vs_market": 1}


def test_it_is_in_why_not_and_in_the_relaxations(client) -> None:
    tell(offer(price=3))
    add("m1", region="eu", price=tokens(4))
    body = {"miner_id": "m1", "hints": {"max_price_vs_market": 1.1}}
    (failed,) = ask(client, "/v1/match/why-not", **body).json()["failed"]
    assert failed == {"constraint": "max_price_vs_market", "asked": 1.1, "actual": 1.333333, "transient": False}
    relaxed = limit(client, 1.1, explain="full")["relaxations"][0]
    assert (relaxed["constraint"], relaxed["adds"], relaxed["relax_to"]) == ("max_price_vs_market", 1, 1.333334)
    assert ids(limit(client, relaxed["relax_to"])) == {"m1"}


@pytest.mark.parametrize(
    ("ratio", "passes"), [(0, False), ("0.99999999", False), (1, True), ("1.0", True), (10**12, True)]
)
def test_the_limit_is_exact(client, ratio, passes) -> None:
    tell(offer(price="123456789.12345678"))
    add("m1", region="eu", price=12_345_678_912_345_678)
    assert ids(limit(client, ratio)) == ({"m1"} if passes else set())


@pytest.mark.parametrize(
    ("ratio", "code"), [(-1, "out_of_range"), (True, "invalid_type"), ("x", "invalid_format"), (10**13, "out_of_range")]
)
def test_a_bad_limit_is_refused(client, ratio, code) -> None:
    assert fields_of(ask(client, hints={"max_price_vs_market": ratio})) == {"hints.max_price_vs_market": code}


def test_an_alias_counts_for_miners_too_and_at_once(client) -> None:
    tell(offer(price=1))
    add("m1", gpu_name="Odd Name 7", region="eu", price=tokens(9))
    assert ids(limit(client, 1)) == {"m1"}
    alias_save(name="odd name 7", model="RTX 4090")
    assert ids(limit(client, 1)) == set()


def test_a_miner_that_moves_has_another_market(client) -> None:
    tell(offer(price=1, region="eu"), offer(price=9, region="us"))
    add("m1", region="eu", price=tokens(5))
    assert ids(limit(client, 1)) == set()
    add("m1", region="us", price=tokens(5))
    assert ids(limit(client, 1)) == {"m1"}
    add("m1", region="us", gpu_name="other", price=tokens(5000))
    assert ids(limit(client, 1)) == {"m1"}


def test_a_change_that_another_process_made_is_seen(client, monkeypatch) -> None:
    """As after manage.py sync_prices: only the database tells of it."""
    monkeypatch.setattr(runtime, "tell", lambda: None)
    tell(offer(price=1))
    add("m1", region="eu", price=tokens(2))
    runtime._looked_at = time.monotonic()
    assert not runtime.look()
    assert ids(limit(client, 1)) == {"m1"}
    runtime._told.set()  # as the bus does
    assert runtime.look()
    assert ids(limit(client, 1)) == set()
    runtime._told.set()
    assert not runtime.look()
    MarketVersion.objects.update(version=99)
    runtime._looked_at -= runtime.LOOK_S
    assert runtime.look()


def test_operators_see_each_miner_against_its_market(client, settings) -> None:
    settings.ADMIN_SHARED_SECRET = (ADMIN["X-Admin-Secret"],)
    tell(*(offer(price=price) for price in (1, 2, 3, 4)))
    add("m1", region="eu-west", price=tokens(3))
    add("cheap", region="eu", price=tokens(0.5))
    add("dear", region="eu", price=tokens(11))
    add("other", region="eu", gpu_name="H100")
    rows = {each["miner_id"]: each["market"] for each in client.get("/v1/miners", headers=ADMIN).json()["results"]}
    assert rows["m1"] == {
        "model": "4090",
        "region": "eu",
        "median": 2.5,
        "ratio": 1.2,
        "percentile": 75.0,
        "far_off": None,
    }
    assert (rows["cheap"]["far_off"], rows["dear"]["far_off"], rows["other"]) == ("low", "high", None)
    assert (rows["cheap"]["percentile"], rows["dear"]["percentile"]) == (0.0, 100.0)


@pytest.mark.pure
def test_far_off_is_under_a_quarter_and_over_four_times() -> None:
    entry = MarketEntry("m", "*", 100, (100,))
    assert [position_of(price, entry).far_off for price in (24, 25, 100, 400, 401)] == ["low", None, None, None, "high"]
    assert position_of(5, MarketEntry("m", "*", 0, (0,))).ratio is None


def test_a_registry_that_is_loaded_anew_has_its_market(client) -> None:
    from miners.registry import runtime as registries

    tell(offer(price=Decimal(1)) | {"price": 1})
    made = registries.new_registry()
    registries.set_registry(made)
    runtime.attach(made)
    from matching.reservations.memory import MemoryStore
    from matching.reservations.runtime import attach_to

    attach_to(made, MemoryStore())
    add("m1", region="eu", price=tokens(2))
    assert ids(limit(client, 1)) == set()
