"""A registry that was restored from bytes holds what the other one holds, and what is no snapshot is refused."""

import math
from random import Random
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.population import population
from miners.registry import snapshot
from miners.registry.attested import Hidden
from miners.registry.columns import COLUMNS, ROUGH
from miners.registry.records import NOTHING_ATTESTED, Attested, PriceWindow, Report
from miners.registry.snapshot import Head, Place, Refused
from miners.registry.store import Registry
from miners.registry.tables import table_of
from tests.effort import effort
from tests.miners.registry.builders import NOW, UNITS, empty, row
from tests.miners.registry.whole import whole

pytestmark = pytest.mark.pure

PLACE = Place(b"epoch", {"reports": b"5-1", "events": b"7-0"}, {3: (4, 5), 2**63 + 1: (0, 9)})
EVENTS = [("job", b"\x00one"), ("job", b"two")]
HISTORY = {  # boundaries and times of changes that nobody needs any longer stay where they were made
    "price changes", *(f"range {name}" for name in ("gpu_vram", "ram_gb", "gpu_count", "cpu_cores")),
}  # fmt: skip


class Hub:
    """A registry to which anything happens."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)
        self.registry = empty()
        self.now = NOW
        self.pk = 0

    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.now += self.draw.choice((0.0, 0.25, 3.0))
            self.draw.choice(
                (self.register, self.report, self.report, self.remove, self.hold, self.logout, self.pace)
            )()

    def register(self) -> None:
        draw = self.draw
        self.pk += 1
        made = row(
            f"m{draw.randrange(60):02}", pk=self.pk, version=self.pk, session=int(self.now * 1e6),
            gpu_vram=float(draw.randrange(90)), region=draw.choice(("", "eu", "eu-west", "ü")),
            tags=tuple(draw.sample("abcdef", draw.randrange(4))), price=draw.randrange(4 * UNITS),
            capabilities=tuple(f"c{draw.randrange(300)}" for _ in range(3)), addr=draw.choice(("", "10.0.0.1:1")),
            price_cap=draw.choice((None, UNITS)), disabled=draw.random() < 0.1, draining=draw.random() < 0.2,
            operator_drain=draw.random() < 0.2, trust_s=draw.random(), trust_at=self.now - 5,
            latency_mean=draw.choice((None, 7.5)), latency_count=draw.choice((0, 6)),
            attested=draw.choice((NOTHING_ATTESTED, Attested(gpu_vram=80.0, capabilities=("c1", "v")), Attested(region="us"))),
            attested_until=draw.choice((0.0, self.now - 1, self.now + 9)),
            overrides=(PriceWindow(draw.randrange(UNITS), self.now, draw.choice((math.inf, self.now + 9))),) * draw.randrange(2),
        )  # fmt: skip
        self.registry.upsert(made, now=self.now, last_seen=draw.choice((None, self.now)))

    def some(self) -> str:
        return f"m{self.draw.randrange(60):02}"

    def report(self) -> None:
        names = ("queue_len", "jobs", "latency_ms", "temp_c", "mem_free_gb")
        fields: dict[str, Any] = {name: self.draw.randrange(5) for name in names if self.draw.random() < 0.6}
        self.registry.report(self.some(), Report(at=self.now, ts=self.now - 1, busy=self.draw.random() < 0.5, **fields))

    def remove(self) -> None:
        if self.draw.random() < 0.3:
            miner_id = self.some()
            slot = self.registry.slots.get(miner_id)
            self.registry.remove(miner_id, pk=None if slot is None else int(self.registry.columns.pk[slot]))

    def hold(self) -> None:
        self.registry.add_own(self.some(), self.draw.choice((1, 1, -1)))

    def pace(self) -> None:
        self.registry.set_stretch(self.draw.choice((1.0, 2.5)))

    def logout(self) -> None:
        slot = self.registry.slots.get(self.some())
        if slot is not None:
            self.pk += 1
            held = self.registry.get(self.registry.ids[slot], now=self.now).row
            self.registry.upsert(
                row(held.miner_id, pk=held.pk, version=self.pk, session=held.session, logged_out=True), now=self.now
            )


def copied(registry: Registry, known: dict[int, int] | None = None) -> snapshot.Copy:
    return snapshot.copied(registry, writer=11, place=PLACE, events=EVENTS, known=known or {})


def restored(parts: dict[str, bytes], now: float) -> tuple[Registry, Head]:
    registry = empty()
    return registry, snapshot.restore(registry, parts, now=now)


def assert_alike(one: Registry, other: Registry, now: float) -> None:
    """Once the ledger has brought in its count."""
    for miner_id, slot in one.slots.items():
        other.add_own(miner_id, int(one.columns.own[slot]))
    assert one.stretch == other.stretch
    for at in (now, now + 10, now + 70, now + 130):
        one.refresh(at)
        other.refresh(at)
        first, second = whole(one), whole(other)
        assert not {name for name in first if first[name] != second[name]} - HISTORY
        present = one.states.present[: (one.size + 63) >> 6]
        for value in range(0, 90, 7):
            found = [each.ranges["gpu_vram"].at_least(value, each.columns.gpu_vram, present) for each in (one, other)]
            assert np.array_equal(*found)


@given(seed=st.integers(0, 2**32), steps=st.integers(0, 400))
@effort(25)
def test_a_restored_registry_holds_the_same(seed, steps) -> None:
    hub = Hub(seed)
    hub.go_on(steps)
    other, head = restored(snapshot.encoded(copied(hub.registry)), hub.now)
    assert (head.place, head.events, head.writer) == (PLACE, EVENTS, 11)
    assert_alike(hub.registry, other, hub.now)


@given(seed=st.integers(0, 2**32), steps=st.lists(st.integers(0, 60), min_size=2, max_size=5))
@effort(15)
def test_what_did_not_change_need_not_be_told_again(seed, steps) -> None:
    hub, parts, known = Hub(seed), {}, {}
    with pytest.MonkeyPatch.context() as patched:
        for module in ("miners.registry.snapshot", "miners.registry.store"):
            patched.setattr(f"{module}.SEGMENT_BITS", 3)
        patched.setattr(snapshot, "SEGMENT", 8)
        for count in steps:
            hub.go_on(count)
            copy = copied(hub.registry, known)
            known = copy.edits
            parts |= snapshot.encoded(copy)
        other, _ = restored(parts, hub.now)
    assert_alike(hub.registry, other, hub.now)


def test_every_column_is_in_it_or_follows_from_others() -> None:
    follows = {
        "region", "foreign", "own", "price", "price_source", "market", "latency", "latency_score", "eta_ms", "id_order", "u_price", "u_eta",
        *ROUGH,
    }  # fmt: skip
    kept = {*snapshot.ROW_COLUMNS, *snapshot.LIVE_COLUMNS}
    assert not kept & follows
    assert kept | follows == {column.name for column in COLUMNS}


def test_only_segments_that_were_written_are_told_again() -> None:
    registry = empty()
    registry.load([table_of(population(3 * snapshot.SEGMENT, 1).rows())], now=NOW)
    first = copied(registry)
    assert set(first.rows) == set(first.live) == {0, 1, 2}
    registry.report(registry.ids[0], Report(at=NOW, queue_len=1))
    assert copied(registry, first.edits).rows == {}
    registry.upsert(row(registry.ids[snapshot.SEGMENT], version=9), now=NOW)
    registry.remove(registry.ids[-1])
    again = copied(registry, first.edits)
    assert set(again.rows) == {1, 2}
    assert sum(map(len, snapshot.encoded(again).values())) < sum(map(len, snapshot.encoded(first).values()))


def test_a_copy_is_of_one_moment() -> None:
    """What happens while it is encoded is not in it."""
    hub = Hub(1)
    hub.go_on(200)
    copy = copied(hub.registry)
    before = snapshot.encoded(copy)
    hub.go_on(200)
    assert snapshot.encoded(copy) == before


def test_a_restored_registry_goes_on() -> None:
    """Codes, slots and generations are given away from there on."""
    hub = Hub(2)
    hub.go_on(300)
    other = Hub(2)
    other.registry, _ = restored(snapshot.encoded(copied(hub.registry)), hub.now)
    for miner_id, slot in hub.registry.slots.items():
        other.registry.add_own(miner_id, int(hub.registry.columns.own[slot]))
    other.now, other.pk, other.draw = hub.now, hub.pk, Random(3)
    hub.draw = Random(3)
    for each in (hub, other):
        each.go_on(300)
        each.registry.refresh(each.now)
    views = [each.registry.page(now=each.now, limit=100)[0] for each in (hub, other)]
    assert views[0] == views[1]


def made(writer: int = 11) -> dict[str, bytes]:
    hub = Hub(5)
    hub.go_on(120)
    return snapshot.encoded(snapshot.copied(hub.registry, writer=writer, place=PLACE, events=EVENTS, known={}))


PARTS = made()


@given(name=st.sampled_from(sorted(PARTS)), at=st.integers(0), bit=st.integers(0, 7))
@effort(100)
def test_a_flipped_bit_is_refused(name, at, bit) -> None:
    data = bytearray(PARTS[name])
    data[at % len(data)] ^= 1 << bit
    with pytest.raises(Refused):
        restored({**PARTS, name: bytes(data)}, NOW)


@given(name=st.sampled_from(sorted(PARTS)), left=st.integers(0, 60))
@effort(30)
def test_a_part_that_ends_early_is_refused(name, left) -> None:
    with pytest.raises(Refused):
        restored({**PARTS, name: PARTS[name][:left]}, NOW)


@pytest.mark.parametrize("name", sorted(PARTS))
def test_a_part_that_is_missing_is_refused(name) -> None:
    with pytest.raises(Refused):
        restored({each: data for each, data in PARTS.items() if each != name}, NOW)


@pytest.mark.parametrize("name", ["rows 0", "live 0"])
def test_a_part_of_another_maker_is_refused(name) -> None:
    foreign = made(writer=12)
    with pytest.raises(Refused, match="belongs to another snapshot"):
        restored({**PARTS, name: foreign[name]}, NOW)


def test_a_version_with_other_columns_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(snapshot, "LAYOUT", snapshot.LAYOUT ^ 1)
    older = made()
    monkeypatch.undo()
    with pytest.raises(Refused, match="those of another version"):
        restored(older, NOW)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        (snapshot.HEAD, lambda head: msgspec.structs.replace(head, size=-1)),
        (snapshot.HEAD, lambda head: msgspec.structs.replace(head, size=2**62)),  # no room is made for them
        (snapshot.HEAD, lambda head: msgspec.structs.replace(head, hidden={10**6: Hidden(NOTHING_ATTESTED, NOW)})),
        (snapshot.HEAD, lambda head: msgspec.structs.replace(head, vocabulary=[])),
        (snapshot.HEAD, lambda head: {**msgspec.structs.asdict(head), "removed": msgspec.Raw(b"\x91\xa1\xff")}),
        ("rows 0", lambda data: (2**40).to_bytes(8, "little") + data[8:]),  # the first miner's primary key
        ("rows 0", lambda data: (-1).to_bytes(8, "little", signed=True) + data[8:]),
        ("rows 0", lambda data: data[:-5]),
        ("rows 0", lambda data: data + b"x"),
        ("live 0", lambda data: data[:-8]),
    ],
)
def test_what_makes_no_sense_under_a_right_sum_is_refused(name, spoil) -> None:
    if name == snapshot.HEAD:
        part = snapshot._summed(msgspec.msgpack.encode(spoil(snapshot.head_of(PARTS))))
    else:
        layout, _, *about = snapshot.PART.unpack_from(PARTS[name])
        data = spoil(PARTS[name][snapshot.PART.size :])
        part = snapshot.PART.pack(layout, crc32(data), *about) + data
    with pytest.raises(Refused):
        restored({**PARTS, name: part}, NOW)
