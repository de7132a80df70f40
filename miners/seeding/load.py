"""What a mock miner's load does as time passes; pure: clock and dice are arguments.

Jobs come and go as in a queue with max_parallel servers: they arrive at a rate that follows the hour of day where the
miner stands, and each is served for JOB_S on average. Temperature, free memory and latency follow from the jobs. A day
passes in DAY_S, so that a demonstration of minutes sees mornings and nights.
"""

import math
from dataclasses import dataclass
from random import Random

from miners.seeding.population import MinerSpec

DAY_S = 600.0
SWING = 0.7  # how far the arrivals rise and fall around their mean within a day
JOB_S = 30.0
MAX_QUEUE = 2  # jobs for each slot: more are turned away
LONGEST_STEP_S = 4 * JOB_S  # after a longer silence nothing of the earlier queue is left

IDLE_C, FULL_C = 38.0, 78.0
WARMING_S = 20.0  # time constant of the temperature
JOB_MEMORY = 0.85  # share of the memory that is taken at full load
NOISE = 0.12  # sigma of the latency's log-normal noise
LOADED_LATENCY = 0.5  # what full load adds to the latency, as a share


@dataclass(frozen=True, slots=True)
class Reading:
    queue_len: int
    busy: bool  # no slot is free
    latency_ms: float
    temp_c: float
    mem_free_gb: float


class Load:
    def __init__(self, spec: MinerSpec, rng: Random, *, now: float) -> None:
        self._spec, self._rng = spec, rng
        self._at = now
        self._jobs = sum(rng.random() < self._wanted(now) for _ in range(spec.max_parallel))
        self._temp_c = self._settled_c()
        self.draining = False  # takes no new jobs

    def reading(self, now: float) -> Reading:
        """As of now, which never goes back."""
        elapsed_s = max(0.0, now - self._at)
        self._at = max(now, self._at)
        self._pass(min(elapsed_s, LONGEST_STEP_S))
        self._temp_c += (self._settled_c() - self._temp_c) * (1 - math.exp(-elapsed_s / WARMING_S))
        spec, rng, share = self._spec, self._rng, self._share()
        memory_gb = spec.gpu_vram or spec.ram_gb
        latency_ms = spec.latency_ms * (1 + LOADED_LATENCY * share) * rng.lognormvariate(0, NOISE)
        taken = JOB_MEMORY * share * rng.uniform(0.9, 1.0)
        return Reading(
            queue_len=self._jobs,
            busy=self._jobs >= spec.max_parallel,
            latency_ms=round(latency_ms, 1),
            temp_c=round(self._temp_c + rng.gauss(0, 0.7), 1),
            mem_free_gb=round(memory_gb * (1 - taken), 2),
        )

    def _wanted(self, now: float) -> float:
        """The share of the slots that the arrivals keep working, in (0, 0.95]."""
        hour = now % DAY_S / DAY_S * 24
        wave = 1 + SWING * math.cos((hour - self._spec.peak_hour) / 24 * 2 * math.pi)
        return min(0.95, self._spec.busy_share * wave)

    def _pass(self, seconds: float) -> None:
        """Births and deaths, one by one, each after its exponential wait."""
        slots, rng, left_s = self._spec.max_parallel, self._rng, seconds
        arrivals = self._wanted(self._at) * slots / JOB_S
        while True:
            come = 0.0 if self.draining or self._jobs >= MAX_QUEUE * slots else arrivals
            go = min(self._jobs, slots) / JOB_S
            if come + go == 0:
                return
            left_s -= rng.expovariate(come + go)
            if left_s < 0:
                return
            self._jobs += 1 if rng.random() * (come + go) < come else -1

    def _share(self) -> float:
        return min(1.0, self._jobs / self._spec.max_parallel)

    def _settled_c(self) -> float:
        return IDLE_C + (FULL_C - IDLE_C) * self._share()
