"""Whatever way reports take to a registry, it ends alike."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miners.registry import beats, merging
from miners.registry.records import Report
from miners.registry.store import Registry
from tests.effort import effort
from tests.miners.registry.builders import NOW, row
from tests.miners.registry.replicas import differing, pool

pytestmark = pytest.mark.pure

MINERS = 5
FIELDS = {
    "queue_len": st.integers(0, 5), "busy": st.booleans(), "jobs": st.integers(0, 5), "ts": st.floats(NOW, NOW + 50),
    "latency_ms": st.floats(0, 500) | st.just(math.nan), "temp_c": st.floats(0, 90, width=32),
    "mem_free_gb": st.floats(0, 80) | st.just(math.nan),
}  # fmt: skip
REPORTS = st.fixed_dictionaries({}, optional=FIELDS)
HISTORY = st.lists(st.tuples(st.integers(1, MINERS), st.integers(0, 1), REPORTS), max_size=40)


def writers(history: list[tuple[int, int, dict]]) -> tuple[list[Registry], list[list[beats.Beat]]]:
    """Two processes, each of which heard a part of the reports; and what they would publish."""
    registries = [pool(MINERS, now=NOW) for _ in range(2)]
    for number, registry in enumerate(registries, start=1):
        registry.join(number)
    for i, (pk, which, fields) in enumerate(history, start=1):
        registries[which].report(f"m{pk:05}", Report(at=NOW + i / 8, **fields))
    return registries, [list(each.outbox or ()) for each in registries]


def merge(registry: Registry, published: list[beats.Beat]) -> None:
    if published:
        registry.merge(beats.unpack(beats.pack(9, 1, 0, published)).beats)


@given(history=HISTORY)
@effort(60)
def test_writers_and_a_third_process_end_alike(history) -> None:
    (one, two), (from_one, from_two) = writers(history)
    third = pool(MINERS, now=NOW)
    merge(one, from_two)
    merge(two, from_one)
    merge(third, from_one)
    merge(third, from_two)
    assert not differing(one, two, third)


@given(history=HISTORY, seed=st.integers(0, 99), size=st.integers(1, 7))
@effort(60)
def test_batches_may_come_in_any_mixture_and_twice(history, seed, size) -> None:
    (one, _), published = writers(history)
    merge(one, published[1])
    random, other = Random(seed), pool(MINERS, now=NOW)
    streams = [[part[i : i + size] for i in range(0, len(part), size)] for part in published]
    while any(streams):
        stream = random.choice([each for each in streams if each])
        batch = stream.pop(0)
        merge(other, batch)
        if random.random() < 0.3:
            merge(other, batch)
    assert not differing(one, other)


@given(history=HISTORY)
@effort(60)
def test_state_told_once_more_says_as_much_as_the_history(history) -> None:
    (one, _), (_, from_two) = writers(history)
    merge(one, from_two)
    other = pool(MINERS, now=NOW)
    with one.lock:
        state = merging.state_of(one, np.array(sorted(one.slots.values())))
    other.merge(state)
    assert not differing(one, other)
    assert len(state) <= MINERS * len(merging.TIMED)


def test_a_report_of_a_session_that_has_ended_changes_nothing() -> None:
    registry = pool(1, now=NOW)
    late = pool(1, now=NOW)
    for each in (registry, late):
        each.join(1)
    late.report("m00001", Report(at=NOW + 1, queue_len=3))
    again = row("m00001", pk=1, version=2, session=int((NOW + 2) * 1e6), max_parallel=4)
    registry.upsert(again, now=NOW + 2, last_seen=NOW + 2)
    merge(registry, late.outbox)
    assert registry.get("m00001", now=NOW + 2).live.queue_len == 0


def test_a_report_of_a_new_session_survives_the_row_that_begins_it() -> None:
    """The report took the quicker way."""
    registry, writer = pool(1, now=NOW), pool(1, now=NOW)
    writer.join(1)
    writer.report("m00001", Report(at=NOW + 3, queue_len=3))
    merge(registry, writer.outbox)
    again = row("m00001", pk=1, version=2, session=int((NOW + 2) * 1e6), max_parallel=4)
    registry.upsert(again, now=NOW + 4, last_seen=NOW + 2)
    assert registry.get("m00001", now=NOW + 4).live.queue_len == 3


def test_unknown_miners_are_named_and_the_others_applied() -> None:
    registry, writer = pool(1, now=NOW), pool(3, now=NOW)
    writer.join(1)
    for pk in (3, 1, 2, 3):
        writer.report(f"m{pk:05}", Report(at=NOW + pk, queue_len=pk))
    unknown = registry.merge(beats.unpack(beats.pack(1, 1, 0, writer.outbox)).beats)
    assert unknown.tolist() == [2, 3]
    assert registry.get("m00001", now=NOW + 1).live.queue_len == 1


def test_two_writers_never_stamp_the_same_time() -> None:
    stamps = set()
    for writer in range(16):
        registry = pool(0, now=NOW)
        registry.join(writer)
        stamped = registry.stamped(NOW + 0.123456)
        assert abs(stamped - NOW - 0.123456) < 8e-6
        stamps.add(stamped)
    assert len(stamps) == 16


@pytest.mark.parametrize("data", [b"", b"x", bytes(32), beats.pack(1, 1, 0, [])[:-1], beats.pack(1, 1, 0, []) + b"12"])
def test_what_is_no_batch_is_refused(data) -> None:
    with pytest.raises(beats.UnknownFormat):
        beats.unpack(data)
