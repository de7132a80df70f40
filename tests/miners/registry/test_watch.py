"""Who has changed since the last look."""

from collections.abc import Callable

import numpy as np
import pytest

from miners.registry import bitmaps
from miners.registry.market import MarketEntry
from miners.registry.records import PriceWindow, Report
from miners.registry.store import Registry
from miners.registry.watch import SLIGHT, Changes, Watch
from tests.miners.registry.builders import GRACE_S, HALF_LIFE_S, NOW, TTL_S, UNITS, empty, registry_of, row

pytestmark = pytest.mark.pure
KINDS = ("profile", "standing", "eta", "mem_free")


def names(registry: Registry, changes: Changes) -> dict[str, set[str]]:
    """By kind, the ids of those that changed; "" for a slot that nobody has."""
    found = {}
    for kind in KINDS:
        slots = bitmaps.to_rows(getattr(changes, kind)).tolist()
        found[kind] = {registry.ids[slot] for slot in slots if slot < registry.size}
    return {kind: ids for kind, ids in found.items() if ids}


@pytest.fixture
def registry() -> Registry:
    made = registry_of(*(row(f"m{i}", pk=i + 1, attested_until=NOW + 50) for i in range(3)))
    made.report("m1", Report(at=NOW, latency_ms=10.0, mem_free_gb=8.0))
    return made


def test_the_first_look_tells_of_everybody_and_the_next_of_nobody(registry) -> None:
    watch = Watch(registry)
    assert names(registry, watch.look(NOW))["profile"] == {"m0", "m1", "m2"}
    assert names(registry, watch.look(NOW)) == {}


@pytest.mark.parametrize(
    ("act", "kinds"),
    [
        (lambda r: r.upsert(row("m1", pk=2, version=2, tags=("new",), attested_until=NOW + 50), now=NOW), {"profile", "standing"}),
        (lambda r: r.upsert(row("m1", pk=2, version=2, price=5, attested_until=NOW + 50), now=NOW), {"profile", "standing"}),
        (lambda r: r.remove("m1"), {"profile", "standing", "eta", "mem_free"}),
        (lambda r: r.report("m1", Report(at=NOW, queue_len=1)), {"standing", "eta"}),
        (lambda r: r.report("m1", Report(at=NOW, queue_len=9)), {"standing", "eta"}),
        (lambda r: r.report("m1", Report(at=NOW, latency_ms=11.0)), {"eta"}),  # still the fastest of one
        (lambda r: r.report("m1", Report(at=NOW, mem_free_gb=9.0)), {"mem_free"}),
        (lambda r: r.report("m1", Report(at=NOW, temp_c=60.0)), set()),
        (lambda r: r.report("m1", Report(at=NOW)), set()),
        (lambda r: r.add_own("m1", 1), {"standing", "eta"}),
    ],
)  # fmt: skip
def test_what_happens_to_one_is_told_by_its_kind(registry, act: Callable[[Registry], object], kinds) -> None:
    watch = Watch(registry)
    watch.look(NOW)
    act(registry)
    changed = names(registry, watch.look(NOW))
    assert changed == {kind: changed[kind] for kind in kinds}
    assert all(ids in ({"m1"}, {""}) for ids in changed.values())
    assert names(registry, watch.look(NOW)) == {}


@pytest.mark.parametrize(
    ("later", "who"),
    [
        (49.9, set()),
        (50.1, {"m0", "m1", "m2"}),  # attested no more
        (TTL_S + 0.1, {"m0", "m1", "m2"}),  # degraded
        (GRACE_S + 0.1, {"m0", "m1", "m2"}),  # offline
    ],
)
def test_what_time_alone_does_is_seen(registry, later, who) -> None:
    watch = Watch(registry)
    watch.look(NOW)
    assert names(registry, watch.look(NOW + later)).get("standing", set()) == who


def test_an_override_that_begins_and_ends_is_seen() -> None:
    window = PriceWindow(price=UNITS // 2, starts_at=NOW + 10, ends_at=NOW + 20)
    registry = registry_of(row("m0", pk=1, overrides=(window,)), row("m1", pk=2))
    watch = Watch(registry)
    for later, who in [(0, {"m0", "m1"}), (9, set()), (10, {"m0"}), (19, set()), (20, {"m0"})]:
        assert names(registry, watch.look(NOW + later)).get("standing", set()) == who


def test_a_slow_drift_counts_once_it_is_more_than_slight() -> None:
    registry = registry_of(row("m0", pk=1, trust_s=4.0, trust_at=NOW))
    watch = Watch(registry)
    watch.look(NOW)
    seen, told = [registry.columns.f_trust[0]], 0
    for step in range(1, 200):
        now = NOW + step * HALF_LIFE_S / 1000
        registry.touch("m0", now=now)
        if "standing" in names(registry, watch.look(now)):
            told += 1
            assert abs(registry.columns.f_trust[0] - seen[-1]) > SLIGHT
            seen.append(registry.columns.f_trust[0])
    assert 5 < told < 50


def test_a_slot_given_away_anew_is_another_miner() -> None:
    registry = registry_of(row("m0", pk=1))
    watch = Watch(registry)
    watch.look(NOW)
    registry.remove("m0")
    registry.upsert(row("m9", pk=2), now=NOW, last_seen=NOW)
    assert names(registry, watch.look(NOW))["profile"] == {"m9"}


def test_a_registry_that_grows_keeps_what_was_seen() -> None:
    registry = empty(capacity=64)
    watch = Watch(registry)
    for i in range(300):
        registry.upsert(row(f"m{i}", pk=i + 1), now=NOW, last_seen=NOW)
        assert names(registry, watch.look(NOW))["profile"] == {f"m{i}"}


def test_any_history_of_changes_is_told_row_by_row() -> None:
    """The control: the same columns, compared outright."""
    registry = registry_of(*(row(f"m{i:03}", pk=i + 1) for i in range(200)))
    watch, random = Watch(registry), np.random.default_rng(7)
    watch.look(NOW)
    before = registry.columns.f_load[:200].copy()
    for step in range(50):
        for slot in random.integers(0, 200, 20):
            registry.report(f"m{slot:03}", Report(at=NOW + step / 10, queue_len=int(random.integers(0, 5))))
        changed = watch.look(NOW + step / 10)
        after = registry.columns.f_load[:200].copy()
        assert set(bitmaps.to_rows(changed.standing).tolist()) == set(np.flatnonzero(after != before).tolist())
        before = after


def test_a_market_price_that_changes_is_told_for_the_miners_that_it_is_of(registry) -> None:
    registry.upsert(row("m1", pk=2, version=2, gpu_name="H100", attested_until=NOW + 50), now=NOW)
    watch = Watch(registry)
    watch.look(NOW)

    def of_h100(median: int):
        entry = MarketEntry("h100", "*", median, (median,))
        return lambda gpu_name, region: entry if gpu_name == "H100" else None

    registry.set_market(of_h100(5))
    assert names(registry, watch.look(NOW)) == {"standing": {"m1"}}
    registry.set_market(of_h100(5))
    assert names(registry, watch.look(NOW)) == {}
    registry.set_market(of_h100(6))
    assert names(registry, watch.look(NOW)) == {"standing": {"m1"}}
