"""Attested values over claimed ones, and what is there when their time is over."""

import dataclasses
from typing import Any

import msgspec
import pytest

from miners.registry import bitmaps
from miners.registry.attested import MAX_ENDED
from miners.registry.records import ATTESTABLE, NOTHING_ATTESTED, Attested, MinerRow
from miners.registry.store import Registry
from miners.registry.sync import RowEvent, encode
from miners.registry.terms import Kind
from miners.registry.watch import Watch
from tests.miners.registry.builders import NOW, registry_of, row

pytestmark = pytest.mark.pure

CLAIMS: dict[str, Any] = {
    "gpu_name": "RTX 4090", "gpu_vram": 24.0, "gpu_count": 1, "cpu_cores": 16, "ram_gb": 64.0, "region": "eu-west",
    "accel": ("cuda",), "capabilities": ("a", "b"),
}  # fmt: skip
FULL = Attested(
    gpu_name="H100", gpu_vram=80.0, gpu_count=8, cpu_cores=64, ram_gb=512.0, region="us", accel=("cuda", "rocm"),
    capabilities=("c",),
)  # fmt: skip


def vouched(until: float = NOW + 50, attested: Attested = FULL, **fields: Any) -> MinerRow:
    return row(**{"miner_id": "m", "pk": 1, **CLAIMS, "attested": attested, "attested_until": until, **fields})


def seen(registry: Registry, now: float = NOW) -> dict[str, Any]:
    """The values that matching goes by, out of its indexes."""
    with registry.lock:
        registry.refresh(now)
        slot = registry.slots["m"]
        word = registry.states.present[:1]
        columns = registry.columns

        def held(kind: Kind) -> set[str]:
            return {name for name, count in registry.terms.counts(kind).items() if count}

        ranged = ("gpu_vram", "gpu_count", "cpu_cores", "ram_gb")
        for name in ranged:
            value, index = float(getattr(columns, name)[slot]), registry.ranges[name]
            assert index.at_least(value, getattr(columns, name), word).any()
            assert not index.at_least(value + 1, getattr(columns, name), word).any()
        return {
            **{name: getattr(columns, name)[slot] for name in ranged},
            "gpu_name": held(Kind.GPU), "region": held(Kind.REGION), "accel": held(Kind.ACCEL),
            "capabilities": held(Kind.CAPABILITY),
        }  # fmt: skip


CLAIMED_SEEN = {
    "gpu_vram": 24, "gpu_count": 1, "cpu_cores": 16, "ram_gb": 64, "gpu_name": {"RTX 4090"}, "region": {"eu-west"},
    "accel": {"cuda"}, "capabilities": {"a", "b"},
}  # fmt: skip
FULL_SEEN = {
    "gpu_vram": 80, "gpu_count": 8, "cpu_cores": 64, "ram_gb": 512, "gpu_name": {"H100"}, "region": {"us"},
    "accel": {"cuda", "rocm"}, "capabilities": {"c"},
}  # fmt: skip


def test_attested_values_win_until_their_time_is_over_and_then_the_claimed_ones_are_back() -> None:
    registry = registry_of(vouched())
    assert seen(registry, NOW + 49.999) == FULL_SEEN
    assert seen(registry, NOW + 50) == CLAIMED_SEEN
    assert registry.columns.attested_until[0] == 0


def test_a_miner_read_back_has_what_it_claims_and_what_is_attested() -> None:
    registry = registry_of(vouched())
    found = registry.get("m", now=NOW)
    assert found is not None
    assert found.row == vouched()
    assert found.row.covered().gpu_name == "H100"
    over = registry.get("m", now=NOW + 50)
    assert over is not None
    assert over.row == vouched(until=0.0, attested=NOTHING_ATTESTED)


def test_a_row_that_comes_when_its_attestation_is_over_is_the_claimed_one() -> None:
    assert seen(registry_of(vouched(until=NOW))) == CLAIMED_SEEN


@pytest.mark.parametrize("name", ATTESTABLE)
def test_each_value_is_attested_by_itself(name) -> None:
    registry = registry_of(vouched(attested=Attested(**{name: getattr(FULL, name)})))
    assert seen(registry) == {**CLAIMED_SEEN, name: FULL_SEEN[name]}
    assert seen(registry, NOW + 50) == CLAIMED_SEEN


def test_what_the_miner_claims_meanwhile_is_there_when_the_time_is_over() -> None:
    registry = registry_of(vouched())
    registry.upsert(vouched(version=2, gpu_vram=12.0, capabilities=("z",)), now=NOW + 1)
    assert seen(registry, NOW + 2) == FULL_SEEN
    assert seen(registry, NOW + 50) == {**CLAIMED_SEEN, "gpu_vram": 12, "capabilities": {"z"}}


def test_a_longer_attestation_takes_the_place_of_the_one_before_and_a_shorter_one_too() -> None:
    registry = registry_of(vouched())
    registry.upsert(vouched(NOW + 90, Attested(gpu_count=2), version=2), now=NOW + 1)
    assert seen(registry, NOW + 60) == {**CLAIMED_SEEN, "gpu_count": 2}
    registry.upsert(vouched(NOW + 70, Attested(gpu_count=3), version=3), now=NOW + 60)
    assert seen(registry, NOW + 69) == {**CLAIMED_SEEN, "gpu_count": 3}
    assert seen(registry, NOW + 70) == CLAIMED_SEEN
    assert seen(registry, NOW + 90) == CLAIMED_SEEN


def test_a_row_without_it_takes_the_attestation_away_at_once() -> None:
    registry = registry_of(vouched())
    registry.upsert(vouched(0.0, NOTHING_ATTESTED, version=2), now=NOW + 1)
    assert seen(registry, NOW + 1) == CLAIMED_SEEN
    assert registry.attested.all_hidden() == {}


def test_whoever_gets_the_slot_of_a_miner_that_is_removed_is_not_attested() -> None:
    registry = registry_of(vouched())
    registry.remove("m")
    registry.upsert(row("n", pk=2, **CLAIMS), now=NOW)
    assert registry.get("n", now=NOW + 60).row == row("n", pk=2, **CLAIMS)  # type: ignore[union-attr]


def test_many_changes_of_one_row_leave_one_end_to_wait_for() -> None:
    registry = registry_of(vouched())
    for version in range(2, 200):
        registry.upsert(vouched(version=version, trust_s=float(version)), now=NOW)
    assert len(registry.attested._ends) == 1


def test_thousands_that_end_at_one_moment_do_not_hold_up_a_match() -> None:
    registry = registry_of(*(vouched(pk=i + 1, miner_id=f"m{i}") for i in range(MAX_ENDED + 1)))
    watch = Watch(registry)
    with registry.lock:
        watch.look(NOW)
        assert bitmaps.count(watch.look(NOW + 50).profile) == MAX_ENDED + 1
        held = (registry.columns.gpu_vram[: registry.size] == 80).sum()
        assert held == 1
        assert not (registry.columns.attested_until[: registry.size] > NOW + 50).any()
        assert bitmaps.count(watch.look(NOW + 50).profile) == 1  # the one whose claims are back only now
        assert not (registry.columns.gpu_vram[: registry.size] == 80).any()


def test_its_end_is_a_change_of_the_profile_for_those_who_watch() -> None:
    registry = registry_of(vouched())
    watch = Watch(registry)
    with registry.lock:
        watch.look(NOW)
        assert not watch.look(NOW + 49).profile.any()
        assert watch.look(NOW + 50).profile.any()
        assert not watch.look(NOW + 51).profile.any()


def test_a_row_travels_with_what_is_attested_and_one_of_an_older_hub_has_nothing() -> None:
    decode = msgspec.msgpack.Decoder(RowEvent).decode
    assert decode(encode(RowEvent(vouched(), NOW, None))).row == vouched()
    old = msgspec.to_builtins(vouched())
    for name in ("attested", "attested_until"):
        del old[name]
    assert decode(encode([old, NOW, None])).row == dataclasses.replace(
        vouched(), attested=NOTHING_ATTESTED, attested_until=0.0
    )
