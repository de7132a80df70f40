"""One process of a hub with everything to do at once: heartbeats, standing subscriptions, matches.

Matches go through the whole of Django, as a worker is asked for them, but for the socket. Started by benchmarks.stream.
"""

import io
import json
import sys
import threading
import time
from dataclasses import dataclass
from random import Random
from typing import Any

import django
import numpy as np

django.setup()

from django.conf import settings  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402

from benchmarks.engines.live import heartbeats, registry_of  # noqa: E402
from benchmarks.jobs import JOBS  # noqa: E402
from benchmarks.population import NOW, REGIONS, population  # noqa: E402
from benchmarks.processes import serve_lines  # noqa: E402
from matching.consumers import subscriptions  # noqa: E402
from matching.queries import query_of, weights_by_default  # noqa: E402
from matching.scoring import pipeline  # noqa: E402
from matching.scoring.types import MatchResult, Query  # noqa: E402
from matching.serializers import MatchRequest  # noqa: E402
from matching.streams.subscriptions import Subscription  # noqa: E402
from miners.registry import runtime  # noqa: E402
from poolhub.common import clock, codec  # noqa: E402
from poolhub.common.metrics import STREAM_RANKINGS  # noqa: E402

TICK_S = 0.01
SETTLE_LIMIT_S = 60.0
ASKED = ("min_vram_gb", "min_ram_gb", "min_gpu_count", "min_cpu_cores", "min_trust")
NAMED = ("accel", "tags_any", "capabilities_any", "capabilities_all")


class Shifted:
    """The population's time, moving as the real one does."""

    def __init__(self) -> None:
        self._offset = NOW - time.time()

    def now(self) -> float:
        return time.time() + self._offset


def body_of(query: Query, **changes: Any) -> dict[str, Any]:
    requirements = {name: getattr(query, name) for name in (*ASKED, *NAMED) if getattr(query, name)}
    hints = {"region": query.region, "max_price": query.max_price, "deadline_ms": query.deadline_ms}
    given = {name: float(value) if name == "max_price" else value for name, value in hints.items() if value is not None}
    return {"job_id": "job", "requirements": requirements, "hints": given, "top_k": query.top_k, **changes}


@dataclass
class Standing:
    """A subscriber that keeps the newest answer."""

    request: MatchRequest
    updates: int = 0
    newest: list[str] | None = None

    def take(self, source: Subscription, result: MatchResult) -> None:
        self.updates += 1
        self.newest = [each.miner_id for each in result.candidates]


class Busy:
    def __init__(self, miners: int, seed: int, heartbeats_s: float) -> None:
        self.pool = population(miners, seed)
        self.registry = registry_of(self.pool)
        runtime.set_registry(self.registry)
        self.rate = heartbeats_s
        self.applied = 0
        self._pause = threading.Event()
        self._paused = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()
        self.application = get_wsgi_application()
        self.standing: list[Standing] = []
        self._held: list[Subscription] = []
        queries = [query for kind in ("selective", "unselective") for query in JOBS[kind].values()]
        self.jobs = [(body_of(query), query) for query in queries]
        self._number = 0
        self._all = b'"considered":%d,' % miners

    def _beat(self) -> None:
        """So many a second, in small portions as an event loop takes them in."""
        reports = heartbeats(self.registry, self.pool)
        due, last = 0.0, time.monotonic()
        while True:
            time.sleep(TICK_S)
            now = time.monotonic()
            due, last = due + self.rate * (now - last), now
            if self._pause.is_set():
                self._paused.set()
                due = 0.0
                continue
            for _ in range(int(due)):
                next(reports)(clock.now())
                self.applied += 1
            due -= int(due)

    # ---- commands

    def subscribe(self, count: int, seed: int) -> int:
        """So many, each asking something else."""
        dice = Random(seed)
        names = [name for name, _ in REGIONS if name]
        for number in range(count):
            body, _ = dice.choice(self.jobs)
            price = {"region": dice.choice(names), "max_price": round(dice.uniform(0.2, 3), 2)}
            asked = {**body, "job_id": f"standing-{number}", "hints": {**body["hints"], **price}, "top_k": 5}
            made = Standing(codec.decode(json.dumps(asked).encode(), MatchRequest))
            self.standing.append(made)
            self._held.append(subscriptions.add(made.request, made.take))
        until = time.monotonic() + SETTLE_LIMIT_S
        while not all(each.updates for each in self.standing):
            assert time.monotonic() < until, "a subscription got no first answer"
            time.sleep(0.05)
        return len(self.standing)

    def unsubscribe(self) -> None:
        for each in self._held:
            subscriptions.drop(each)
        self.standing, self._held = [], []

    def match(self, seconds: float) -> dict[str, Any]:
        """Matches one after another for so long; each is looked at."""
        latencies: list[int] = []
        before = (self.applied, STREAM_RANKINGS._value.get(), sum(each.updates for each in self.standing))
        begun, cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - begun < seconds:
            self._number += 1
            body, _ = self.jobs[self._number % len(self.jobs)]
            sent = json.dumps({**body, "job_id": f"job-{self._number}"}).encode()
            at = time.perf_counter_ns()
            answer = self._ask(sent)
            latencies.append((time.perf_counter_ns() - at) // 1000)
            assert self._all in answer, answer[:500]
        spent = time.perf_counter() - begun
        applied, rankings, updates = (
            now - then
            for now, then in zip(
                (self.applied, STREAM_RANKINGS._value.get(), sum(each.updates for each in self.standing)), before,
                strict=True,
            )
        )  # fmt: skip
        return {
            "matches_s": len(latencies) / spent,
            "p50_us": float(np.percentile(latencies, 50)),
            "p99_us": float(np.percentile(latencies, 99)),
            "heartbeats_s": applied / spent,
            "rankings_s": rankings / spent,
            "updates_s": updates / spent,
            "processor_share": (time.process_time() - cpu) / spent,
        }

    def agreed(self) -> int:
        """With the heartbeats at rest: subscribers whose newest answer is what a match would be now."""
        self._pause.set()
        assert self._paused.wait(10)
        until = time.monotonic() + SETTLE_LIMIT_S
        try:
            while (found := self._agreed()) < len(self.standing) and time.monotonic() < until:
                time.sleep(0.2)
            return found
        finally:
            self._paused.clear()
            self._pause.clear()

    def _agreed(self) -> int:
        with self.registry.lock:
            now, right = clock.now(), 0
            for each in self.standing:
                query = query_of(each.request, default_weights=weights_by_default())
                found = pipeline.match(self.registry, query, now=now).candidates
                right += each.newest == [candidate.miner_id for candidate in found]
        return right

    def _ask(self, sent: bytes) -> bytes:
        status: list[str] = []
        environ = {
            "REQUEST_METHOD": "POST", "PATH_INFO": "/v1/match", "SERVER_NAME": "localhost", "SERVER_PORT": "80",
            "REMOTE_ADDR": "127.0.0.1", "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(sent)),
            "HTTP_X_COORDINATOR_SECRET": settings.COORDINATOR_SHARED_SECRET[0], "wsgi.input": io.BytesIO(sent),
            "wsgi.url_scheme": "http", "wsgi.errors": sys.stderr, "HTTP_HOST": "localhost",
        }  # fmt: skip
        answer = b"".join(self.application(environ, lambda line, headers: status.append(line)))
        assert status[0].startswith("200"), answer
        return answer


def main() -> None:
    miners, seed, rate = (int(each) for each in sys.argv[1:])
    with clock.use(Shifted()):
        busy = Busy(miners, seed, rate)
        serve_lines({name: getattr(busy, name) for name in ("subscribe", "unsubscribe", "match", "agreed")})


if __name__ == "__main__":
    main()
