"""The run's own sums: when requests are due, percentiles, slopes, and what counts as flat. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MINER_BYTES = 1024  # a registered miner in each process that holds the registry: 760 B and room for what we cannot see
FLAT_MB_PER_MIN = 0.5  # beyond what new miners take; a process that leaks each request grows by far more
SETTLED_SHARE = 2 / 3  # of a run, at its end: caches and pools are filled by then


def arrivals(rate: float, seconds: float, *, seed: int) -> NDArray[np.float64]:
    """Moments in s from the start at which requests are due: independent callers, so the gaps are exponential.

    Fixed beforehand: a hub that stands still is asked all the same, and whoever waits counts from when it was due.
    """
    dice = np.random.default_rng(seed)
    drawn = int(rate * seconds + 10 * (rate * seconds) ** 0.5 + 100)  # far more than will be needed
    due = np.cumsum(dice.exponential(1 / rate, drawn))
    return due[due < seconds]


def percentiles(ms: Sequence[float] | NDArray[np.float64]) -> dict[str, Any]:
    """Of durations in ms; without any there is only their number."""
    if not len(ms):
        return {"samples": 0, "p50_ms": None, "p99_ms": None, "max_ms": None}
    found = np.percentile(ms, (50, 99, 100))
    return {"samples": len(ms), **dict(zip(("p50_ms", "p99_ms", "max_ms"), np.round(found, 2).tolist(), strict=True))}


def settled(seconds: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The samples of the last two thirds of the time."""
    begin = seconds[-1] - (seconds[-1] - seconds[0]) * SETTLED_SHARE
    kept = [(at, value) for at, value in zip(seconds, values, strict=True) if at >= begin]
    return [at for at, _ in kept], [value for _, value in kept]


def slope(seconds: Sequence[float], values: Sequence[float]) -> float:
    """By how much the values grow in a minute, by least squares; 0 for a single moment."""
    at, seen = np.asarray(seconds) / 60, np.asarray(values)
    at = at - at.mean() if len(at) else at
    spread = float((at**2).sum())
    return float((at * (seen - seen.mean())).sum() / spread) if spread else 0.0


def allowed_mb_per_min(processes: int, registered_per_min: float) -> float:
    """What a part may grow by: a bit each process, and what those miners take that registered."""
    return processes * (FLAT_MB_PER_MIN + registered_per_min * MINER_BYTES / 1e6)


def added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total


def back_after_s(seconds: Sequence[float], ms: Sequence[float | None], limit_ms: float) -> float | None:
    """From which moment on every request was answered, and within the limit; None where the last was not.

    seconds: when each was due, ascending; ms: how long it took, None where it was refused.
    """
    since: float | None = None
    for at, took in zip(seconds, ms, strict=True):
        if took is None or took > limit_ms:
            since = None
        elif since is None:
            since = at
    return since
