"""What a registry takes in a process of its own: python -m benchmarks.footprint resident|traced SIZE SEED, as JSON.

arrays: its NumPy arrays, by its own count. traced: all that Python allocated for it, ids, addresses and dictionaries
included, by tracemalloc. resident: growth of the process, untouched pages left out and the allocator's slack included.
"""

import ctypes
import gc
import json
import sys
import tracemalloc
from pathlib import Path

from benchmarks.engines.live import registry_of
from benchmarks.population import population
from miners.registry.store import Registry

PAGE_BYTES = 4096


def array_bytes(registry: Registry) -> int:
    parts = (registry.terms, registry.states, *registry.ranges.values())
    return registry.columns.nbytes + sum(part.nbytes() for part in parts)


def main(how: str, size: int, seed: int) -> dict[str, float]:
    registry_of(population(64, seed))  # what is made once: modules, constants
    miners = population(size, seed)
    _give_back()
    before = _resident()
    if how == "traced":
        tracemalloc.start()
    registry = registry_of(miners)
    _give_back()
    assert len(registry) == size, "every miner was loaded"
    if how == "traced":
        return {"traced": round(tracemalloc.get_traced_memory()[0] / size, 1)}
    return {"arrays": round(array_bytes(registry) / size, 1), "resident": round((_resident() - before) / size, 1)}


def _give_back() -> None:
    """Have the allocator return what is free, where it can: otherwise it would be used again, and not seen to grow."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
