"""What every benchmark shares: interleaved timing, percentiles, the record of the surroundings, results and tables.

Each call is timed twice: by the clock, which is what a caller waits, and in processor time of its thread, which other
processes' turns do not lengthen. Ratios are of processor time: on a busy machine the clock would add turns of others
to a reference's long calls and hardly any to short ones.
"""

import gc
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from time import perf_counter_ns, thread_time_ns
from typing import Any, TypeVar

import numpy as np

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent
FLUSH_BYTES = 64 * 2**20  # read through between two calls, it leaves nothing of ours in the core's own caches
Result = TypeVar("Result")
TURNS = 20
P99_FROM = 100  # samples from which a 99th percentile says something


@dataclass
class Samples:
    """Durations in ns, (by the clock, in processor time), by what was run."""

    ns: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def time(self, what: str, run: Callable[[], Result], processor_ns: Callable[[], int] = thread_time_ns) -> Result:
        begun_cpu, begun = processor_ns(), perf_counter_ns()
        result = run()
        spent = perf_counter_ns() - begun
        spent_cpu = processor_ns() - begun_cpu
        self.ns.setdefault(what, []).append((spent, spent_cpu))
        return result

    def summary(self) -> dict[str, Any]:
        """Over all, and the medians of each thing that was run."""
        clock, processor = np.array([each for values in self.ns.values() for each in values]).T / 1e6
        each = {what: np.median(values, axis=0) / 1e6 for what, values in self.ns.items()}
        return {
            "samples": len(clock),
            "p50_ms": _ms(np.median(clock)),
            "p99_ms": _ms(np.percentile(clock, 99)) if len(clock) >= P99_FROM else None,
            "max_ms": _ms(clock.max()),
            "cpu_p50_ms": _ms(np.median(processor)),
            "cpu_p99_ms": _ms(np.percentile(processor, 99)) if len(clock) >= P99_FROM else None,
            "cpu_max_ms": _ms(processor.max()),
            "p50_ms_each": {what: _ms(medians[0]) for what, medians in each.items()},
            "cpu_p50_ms_each": {what: _ms(medians[1]) for what, medians in each.items()},
        }


@dataclass(frozen=True, slots=True)
class Runner:
    """One contestant: the same named things to run as the others, so many times."""

    name: str
    runs: Mapping[str, Callable[[], object]]
    rounds: int
    processor_ns: Callable[[], int] = thread_time_ns  # of whoever works for it


def interleave(runners: Sequence[Runner], before_each: Callable[[], object] | None = None) -> dict[str, Samples]:
    """Time the runners by turns (A B C A B C …), so that what disturbs the machine disturbs all of them.

    A turn is a share of a runner's rounds, one after another, so that all but the first find their own data in the
    caches. The garbage collector stays as it is.
    """
    samples = {each.name: Samples() for each in runners}
    gc.collect()
    for turn in range(TURNS):
        for each in runners:
            for _ in range(each.rounds * (turn + 1) // TURNS - each.rounds * turn // TURNS):
                for what, run in each.runs.items():
                    if before_each is not None:
                        before_each()
                    samples[each.name].time(what, run, each.processor_ns)
    return samples


def rounds_for(run_all: Callable[[], object], *, budget_s: float, least: int, most: int) -> int:
    """How many rounds fit into the time, by one that is not counted and warms up."""
    begun = perf_counter_ns()
    run_all()
    return int(min(most, max(least, budget_s * 1e9 / max(1, perf_counter_ns() - begun))))


class Flush:
    """Other work between two calls: a walk through memory that leaves the core's caches full of something else."""

    def __init__(self) -> None:
        self._memory = np.ones(FLUSH_BYTES // 8)

    def __call__(self) -> float:
        return float(self._memory.sum())


def environment(packages: Iterable[str]) -> dict[str, Any]:
    """Where a result was made. Packages that are not installed are named as such."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": _git("status", "--porcelain", "--", ":!benchmarks/results").splitlines(),
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "os": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_average": [round(each, 2) for each in os.getloadavg()],
    }


def _ms(value: Any) -> float:
    return round(float(value), 4)


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def folder_of(result: Mapping[str, Any]) -> Path:
    """Quick runs are kept apart, so that none takes the place of a measurement."""
    return RESULTS / "quick" if result["quick"] else RESULTS


def write(name: str, result: dict[str, Any], tables: str) -> Path:
    """All of a result as results/NAME.json, and its tables for people as results/NAME.md."""
    path = folder_of(result) / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    made = result["environment"]
    head = (
        f"`{made['command']}` at {made['commit'][:12]}: Python {made['python']}, {made['cpu']}, {made['cores']} cores,"
        f" load average {made['load_average'][0]} at the start"
    )
    path.with_suffix(".md").write_text(f"# {name}: {result['what']}\n\n{head}\n{tables}\n")
    return path


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, aligned for a terminal as well: text to the left, numbers to the right."""
    lines = [[cell(each) for each in row] for row in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    numeric = [not any(isinstance(row[i], str) for row in rows) for i in range(len(header))]
    lines.insert(
        1, ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    )
    return "\n".join("| " + " | ".join(map(_padded, line, widths, numeric)) + " |" for line in lines)


def _padded(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


def cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _git(*arguments: str) -> str:
    found = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else "unknown"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
