"""Miners that are loaded by column end as those that are written one after another."""

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.engines import rows as one_by_one
from benchmarks.population import population
from miners.registry.market import MarketEntry
from miners.registry.records import Attested, LiveStatus, MinerRow, PriceWindow
from miners.registry.store import Registry
from miners.registry.tables import LISTS, LIVE, NUMBERS, TEXTS, table_of
from tests.effort import effort
from tests.miners.registry.builders import NOW, UNITS, empty, row
from tests.miners.registry.whole import unlike

pytestmark = pytest.mark.pure

Miners = Sequence[tuple[MinerRow, LiveStatus | None]]

TIMES = st.sampled_from((NOW - 200, NOW - 61, NOW - 5, NOW, NOW + 40))
WINDOWS = st.builds(
    lambda price, start, length: PriceWindow(price, start, start + length),
    st.sampled_from((0, UNITS // 2, 3 * UNITS)), TIMES, st.sampled_from((1.0, 100.0, math.inf)),
)  # fmt: skip
NAMES = st.lists(st.sampled_from(("cuda", "vulkan", "rocm", "a", "b", "c", "")), max_size=5).map(tuple)
ATTESTED = st.fixed_dictionaries(
    {},
    optional={
        "gpu_name": st.sampled_from(("", "H100")), "gpu_vram": st.sampled_from((0.0, 80.0)), "region": st.sampled_from(("", "us-west")),
        "gpu_count": st.sampled_from((0, 8)), "accel": NAMES, "capabilities": NAMES, "ram_gb": st.just(7.5), "cpu_cores": st.just(9),
    },
).map(lambda values: Attested(**values))  # fmt: skip
VALUES = st.sampled_from((0.0, 8.0, 12.0, 24.0, 80.0)) | st.integers(0, 200).map(float)
COUNTS = st.sampled_from((0, 1, 4, 10**6))
PROFILES = st.fixed_dictionaries(
    {},
    optional={
        "session": st.sampled_from((0, 1, int((NOW - 50) * 1e6), int((NOW + 50) * 1e6))),
        "key_tag": st.sampled_from((0, 2**64 - 1)), "version": st.integers(1, 2**40), "addr": st.sampled_from(("", "é:1")),
        "proto": st.sampled_from(("http", "grpc")), "gpu_name": st.sampled_from(("", "RTX", "A100")),
        "gpu_vram": VALUES, "ram_gb": VALUES, "gpu_count": COUNTS, "cpu_cores": COUNTS,
        "price": st.sampled_from((0, 1, UNITS, 2**32, 10**17)), "price_cap": st.sampled_from((None, 0, UNITS, 2**33)),
        "overrides": st.lists(WINDOWS, max_size=3).map(tuple), "max_parallel": st.sampled_from((1, 2, 4, 1024)),
        "region": st.sampled_from(("", "eu", "eu-west", "us")), "accel": NAMES, "tags": NAMES, "capabilities": NAMES,
        "draining": st.booleans(), "operator_drain": st.booleans(), "disabled": st.booleans(),
        "logged_out": st.booleans(), "trust_s": VALUES, "trust_f": VALUES, "trust_at": TIMES,
        "latency_mean": st.none() | VALUES, "latency_count": st.sampled_from((0, 4, 5, 9)), "attested_until": TIMES,
        "attested": ATTESTED,
    },
)  # fmt: skip
REPORTED = st.none() | st.builds(
    LiveStatus, last_seen=TIMES, reported_at=st.none() | TIMES, ts=st.none() | TIMES, queue_len=COUNTS,
    busy=st.booleans(), jobs=COUNTS, own=st.sampled_from((0, 1, 3)), latency_ms=st.none() | VALUES,
    temp_c=st.none() | VALUES, mem_free_gb=st.none() | VALUES,
)  # fmt: skip


def named(profiles: list[tuple[dict[str, Any], LiveStatus | None]]) -> Miners:
    return [
        (row(f"m{pk * 7919 % 1000:03}", pk=pk, **profile), live) for pk, (profile, live) in enumerate(profiles, start=1)
    ]


def loaded(registry: Registry, miners: Miners, parts: int) -> Registry:
    cuts = [len(miners) * i // parts for i in range(parts + 1)]
    tables = (table_of(miners[start:end]) for start, end in pairwise(cuts))
    registry.load(tables, now=NOW)
    return registry


def written(registry: Registry, miners: Miners) -> Registry:
    one_by_one.write(registry, miners, now=NOW)
    return registry


def assert_alike(one: Registry, other: Registry) -> None:
    assert not unlike(one, other)
    for at in (NOW, NOW + 45, NOW + 130):  # what follows from the time too
        one.refresh(at)
        other.refresh(at)
        assert not unlike(one, other)


@given(profiles=st.lists(st.tuples(PROFILES, REPORTED), max_size=25), parts=st.integers(1, 4))
@effort(60)
def test_a_load_ends_as_row_by_row(profiles, parts) -> None:
    miners = named(profiles)
    assert_alike(loaded(empty(), miners, parts), written(empty(), miners))


@given(
    profiles=st.lists(st.tuples(PROFILES, REPORTED), min_size=2, max_size=25), known=st.integers(1, 10),
    gone=st.integers(0, 10),
)  # fmt: skip
@effort(30)
def test_a_load_beside_miners_that_are_there_and_places_of_others_that_went(profiles, known, gone) -> None:
    miners = named(profiles)
    registries = []
    for _ in range(2):
        registry = written(empty(), miners[:known])
        for made, _ in miners[:gone]:
            registry.remove(made.miner_id)
        registries.append(registry)
    left = miners[known:]
    assert_alike(loaded(registries[0], left, 2), written(registries[1], left))


@pytest.mark.parametrize("parts", [1, 3])
def test_a_crowd_with_more_values_than_bounds_and_terms_that_turn_dense(parts) -> None:
    draw = Random(parts)
    miners = [
        (replace(made, pk=pk, gpu_vram=draw.randrange(400) / 4, ram_gb=float(draw.randrange(90))), live)
        for pk, (made, live) in enumerate(population(1500, parts).rows(), start=1)
    ]
    assert_alike(loaded(empty(), miners, parts), written(empty(), miners))


def test_what_is_loaded_can_be_changed_and_removed() -> None:
    """Holders and boundaries stay in step afterwards, by the usual way."""
    miners = list(population(300, 7).rows())
    one, other = loaded(empty(), miners, 2), written(empty(), miners)
    for registry in (one, other):
        for made, _ in miners[::3]:
            registry.remove(made.miner_id)
        for made, _ in miners[1::3]:
            registry.upsert(row(made.miner_id, version=9, tags=("eco",), gpu_vram=5.0, latency_mean=3.0), now=NOW)
    assert_alike(one, other)


def test_no_field_of_a_row_or_a_status_is_forgotten() -> None:
    of_rows = {*TEXTS, *LISTS, *(name for name, _, _ in NUMBERS), "overrides", "attested"}
    assert of_rows == {field.name for field in fields(MinerRow)}
    follows = {"foreign"}
    assert {name for name, _, _ in LIVE} | follows == {field.name for field in fields(LiveStatus)}


def test_a_miner_that_is_known_is_not_loaded() -> None:
    registry = empty()
    with pytest.raises(ValueError, match="must be new"):
        registry.load([table_of([(row("a"), None)]), table_of([(row("b"), None), (row("a"), None)])], now=NOW)
    assert set(registry.slots) == set(registry.order) == {"a"}
    with pytest.raises(ValueError, match="must be new"):
        registry.load([table_of([(row("c"), None), (row("c"), None)])], now=NOW)


def test_room_is_made_once_where_the_number_is_known() -> None:
    registry = empty()
    registry.load([table_of([(row("a"), None)])], now=NOW, expected=100_000)
    assert 100_000 < registry.columns.capacity < 110_000


def test_miners_that_come_by_column_have_the_market_that_is_there() -> None:
    entry = MarketEntry("h100", "eu", 5, (5,))
    made = empty()
    made.set_market(lambda gpu_name, region: entry if (gpu_name, region) == ("H100", "eu") else None)
    miners = [("a", "H100", "eu"), ("b", "H100", "us"), ("c", "RTX", "eu"), ("d", "H100", "eu")]
    rows = [row(name, pk=pk, gpu_name=gpu, region=region) for pk, (name, gpu, region) in enumerate(miners, start=1)]
    made.load([table_of([(each, None) for each in rows])], now=NOW)
    found = {name: made.market.position(slot) for name, slot in made.slots.items()}
    assert {name for name, each in found.items() if each is not None} == {"a", "d"}
