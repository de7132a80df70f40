"""One process that asks for slots, by lines of JSON: python -m benchmarks.reserving.contender DESK URL LIMITS NAME."""

import json
import sys
import time
from random import Random
from typing import Any

import django

django.setup()

from benchmarks.processes import serve_lines  # noqa: E402
from benchmarks.reserving.desks import DESKS, TOP_K  # noqa: E402


class Contender:
    def __init__(self, desk: str, url: str, limits: dict[str, int], name: str) -> None:
        self.desk = DESKS[desk](url, limits)
        self.miners, self.name = sorted(limits), name
        self.random = Random(name)
        self.jobs = 0

    def race(self, attempts: int, at_once: int) -> dict[str, Any]:
        """Ask so often, hold so many at most; when everything was held, and what it came to."""
        held: list[tuple[str, str, int]] = []
        log: list[tuple[str, int, int]] = []
        took: list[float] = []
        granted = 0
        count = min(TOP_K, len(self.miners))
        begun, cpu = time.monotonic(), time.process_time()

        def give_back(index: int) -> None:
            reservation_id, miner_id, since = held.pop(index)
            log.append((miner_id, since, time.monotonic_ns()))
            self.desk.release(reservation_id, miner_id)

        for _ in range(attempts):
            self.jobs += 1
            ranked = self.random.sample(self.miners, count)
            asked = time.monotonic_ns()
            taken = self.desk.take(f"{self.name}-{self.jobs}", ranked)
            given = time.monotonic_ns()
            took.append((given - asked) / 1e6)
            if taken is not None:
                granted += 1
                held.append((*taken, given))
            if held and (taken is None or len(held) > at_once):
                give_back(self.random.randrange(len(held)))
        while held:
            give_back(0)
        return {
            "begun": begun, "ended": time.monotonic(), "cpu_s": time.process_time() - cpu, "attempts": attempts,
            "granted": granted, "held": log, "took_ms": took,
        }  # fmt: skip


if __name__ == "__main__":
    contender = Contender(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4])
    print("true", flush=True)
    serve_lines({"race": contender.race})
