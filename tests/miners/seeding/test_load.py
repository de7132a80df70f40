"""A mock miner's load follows the day, its slots and the time."""

from dataclasses import replace
from itertools import pairwise
from random import Random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miners.seeding.load import DAY_S, FULL_C, IDLE_C, JOB_S, MAX_QUEUE, Load, Reading
from miners.seeding.population import MinerSpec, population
from miners.serializers import Heartbeat
from poolhub.common import clock, codec
from tests.effort import effort

pytestmark = pytest.mark.pure

START = 1_800_000_000.0
PLAIN = next(population(1, seed=1))


def miner(**fields: object) -> MinerSpec:
    return replace(PLAIN, **{"max_parallel": 4, "gpu_vram": 24.0, "busy_share": 0.5, "peak_hour": 12.0, **fields})


def readings(load: Load, seconds: float, step_s: float = 5.0) -> list[Reading]:
    return [load.reading(START + step_s * (i + 1)) for i in range(int(seconds / step_s))]


@given(
    seed=st.integers(0, 2**32),
    slots=st.integers(1, 32),
    share=st.floats(0.05, 0.9),
    waits=st.lists(st.floats(0, 1e5), max_size=40),
)
@effort(100)
def test_whatever_happens_the_hub_takes_the_reading(seed, slots, share, waits) -> None:
    load, now = Load(miner(max_parallel=slots, busy_share=share), Random(seed), now=START), START
    for wait_s in waits:
        now += wait_s
        read = load.reading(now)
        beat = codec.convert(
            {
                "ts": clock.to_rfc3339(now), "queue_len": read.queue_len, "busy": read.busy,
                "avg_latency_ms": read.latency_ms, "temp_c": read.temp_c, "mem_free_gb": read.mem_free_gb,
            },
            Heartbeat,
        )  # fmt: skip
        assert beat.queue_len <= MAX_QUEUE * slots
        assert beat.busy == (beat.queue_len >= slots)
        assert beat.mem_free_gb <= 24
        assert IDLE_C - 5 < beat.temp_c < FULL_C + 5


def test_the_same_dice_give_the_same_load() -> None:
    assert readings(Load(miner(), Random(3), now=START), 300) == readings(Load(miner(), Random(3), now=START), 300)


def test_load_changes_within_a_minute() -> None:
    load = Load(miner(), Random(1), now=START)
    assert len({read.queue_len for read in readings(load, 60)}) > 1


def test_a_clock_that_steps_back_does_no_harm() -> None:
    load = Load(miner(), Random(1), now=START)
    ahead = load.reading(START + 100)
    assert load.reading(START).queue_len == ahead.queue_len


def test_over_the_days_the_slots_work_as_much_as_the_miner_does() -> None:
    """20 days of 600 s, 80 jobs' times: the mean of busy slots is near busy_share × slots = 2."""
    load = Load(miner(max_parallel=4, busy_share=0.5), Random(5), now=START)
    working = [min(4, read.queue_len) for read in readings(load, 20 * DAY_S)]
    assert mean(working) == pytest.approx(2, abs=0.4)


def test_by_day_it_is_busier_than_by_night() -> None:
    load = Load(miner(max_parallel=16, busy_share=0.5, peak_hour=12.0), Random(5), now=START)
    by_hour: dict[int, list[int]] = {}
    for i in range(4000):
        now = START + 5.0 * (i + 1)
        by_hour.setdefault(int(now % DAY_S / DAY_S * 24), []).append(load.reading(now).queue_len)
    day, night = (mean(mean(by_hour[hour]) for hour in hours) for hours in ((12, 13, 14), (0, 1, 2)))
    assert day > 2 * night


def test_a_busy_miner_is_hotter_slower_and_has_less_memory_free() -> None:
    busy = readings(Load(miner(busy_share=0.9, max_parallel=16), Random(1), now=START), DAY_S)
    idle = readings(Load(miner(busy_share=0.05, max_parallel=16), Random(1), now=START), DAY_S)
    assert mean(read.temp_c for read in busy) > mean(read.temp_c for read in idle) + 10
    assert mean(read.latency_ms for read in busy) > 1.1 * mean(read.latency_ms for read in idle)
    assert mean(read.mem_free_gb for read in busy) < 0.7 * mean(read.mem_free_gb for read in idle)


def test_the_temperature_follows_the_load_slowly() -> None:
    """A second after the last look it has gone 1 - exp(-1 / 20) = 5 % of at most 40 degrees, and the noise is small."""
    load = Load(miner(max_parallel=1), Random(1), now=START)
    reads = readings(load, 600, step_s=1.0)
    assert max(abs(b.temp_c - a.temp_c) for a, b in pairwise(reads)) < 0.05 * 40 + 6 * 0.7
    assert max(read.temp_c for read in reads) - min(read.temp_c for read in reads) > 15


def test_a_miner_that_drains_finishes_its_jobs_and_takes_none() -> None:
    load = Load(miner(max_parallel=16, busy_share=0.9), Random(1), now=START)
    load.draining = True
    counts = [read.queue_len for read in readings(load, 20 * JOB_S)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0


def test_without_a_gpu_the_free_memory_is_the_machines() -> None:
    load = Load(miner(gpu_vram=0.0, gpu_count=0, ram_gb=128.0), Random(1), now=START)
    assert 128 >= max(read.mem_free_gb for read in readings(load, DAY_S)) > 24
