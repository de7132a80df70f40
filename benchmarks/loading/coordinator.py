"""The coordinator of a load run: jobs that are due at moments fixed beforehand, each followed to its end.

python -m benchmarks.loading.coordinator PORT SECRET SEED, asked by lines of JSON (`talk`). Every duration counts from
when the request was due, not from when it could be sent.
"""

import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from benchmarks.loading import sums
from benchmarks.loading.http import Answer, Pool, request
from benchmarks.loading.talk import Commands, serve
from benchmarks.reserving.count import Held, overbooked
from benchmarks.serving.jobs import SETS

CONNECTIONS = 256
TTL_MS = 5_000
ENDS = (  # what becomes of a job, and how often
    ("completed", 0.72), ("failed", 0.08), ("rejected", 0.05), ("released", 0.10), ("forgotten", 0.05),
)  # fmt: skip
TOLD_ACCEPTED = 0.25  # of the jobs; a reservation holds its slot without it
RENEWED = 0.1  # of the jobs whose reservation runs on
TAKEN_AFTER_S, JOB_S = 0.1, 2.0
OK, CREATED, NOTHING = 200, 201, 204
REFUSALS = (429, 503)
BACK_MS = 250.0  # a match is back to normal within
NUMBER = "NNNNNNNNNN"  # stands for a job's
CANDIDATE = b'"candidates":[{"'


@dataclass
class Journal:
    """What the hub has acknowledged."""

    matched: int = 0
    empty: int = 0
    candidates: int = 0
    granted: int = 0
    renewed: int = 0
    released: int = 0
    forgotten: int = 0
    feedback: Counter[str] = field(default_factory=Counter)


class Coordinator:
    def __init__(self, port: int, secret: str, seed: int) -> None:
        self.pool = Pool(port, CONNECTIONS)
        self.secret, self.seed = secret, seed
        self.dice = Random(seed)
        self.journal = Journal()
        self.held: list[Held] = []
        self.ms: dict[str, list[float]] = {"match": [], "feedback": [], "reservation": []}
        self.all_ms: dict[str, list[float]] = {name: [] for name in self.ms}
        self.errors: Counter[str] = Counter()
        self.under_way = 0
        self.numbers = 0
        self._work: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def commands(self) -> Commands:
        return {name: getattr(self, name) for name in ("begin", "tell", "finish", "flood", "close")}

    # ---- commands

    async def begin(self, rate: float, seconds: float) -> None:
        self._work = asyncio.get_running_loop().create_task(self._jobs(rate, seconds))

    async def finish(self) -> None:
        """When every job has come to its end."""
        if self._work is not None:
            await self._work
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def tell(self, slots: dict[str, int] | None = None) -> dict[str, Any]:
        told: dict[str, Any] = {name: sums.percentiles(ms) for name, ms in self.ms.items()}
        for name, ms in self.ms.items():
            self.all_ms[name] += ms
            self.ms[name] = []
        errors, self.errors = self.errors, Counter()
        return {
            **told,
            "all": {name: sums.percentiles(ms) for name, ms in self.all_ms.items()},
            "errors": errors,
            "under_way": self.under_way,
            "journal": vars(self.journal),
            "overbooked": None if slots is None else overbooked(self.held, slots),
            "processor_s": time.process_time(),
        }

    async def close(self) -> None:
        self.pool.close()

    async def flood(self, rate: float, seconds: float, connections: int) -> dict[str, Any]:
        """Matches with reservations that nobody follows up, at their moments, whatever becomes of those before.

        A rate of 0 asks as fast as it is answered, over so many connections.
        """
        flood = Flood(self, connections)
        await (flood.closed(seconds) if not rate else flood.at(rate, seconds))
        return flood.told(seconds)

    # ---- inside

    def body(self) -> dict[str, Any]:
        self.numbers += 1
        return {
            "job_id": f"job-{self.seed}-{self.numbers}",
            **SETS[self.numbers % len(SETS)],
            "reserve": True,
            "reservation_ttl_ms": TTL_MS,
        }

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        return request(method, path, body, X_Coordinator_Secret=self.secret)

    async def _jobs(self, rate: float, seconds: float) -> None:
        begin = time.perf_counter()
        for due in sums.arrivals(rate, seconds, seed=self.seed):
            left_s = begin + due - time.perf_counter()
            if left_s > 0:
                await asyncio.sleep(left_s)
            task = asyncio.get_running_loop().create_task(self._job(begin + due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _job(self, due: float) -> None:
        self.under_way += 1
        try:
            await self._follow(due)
        finally:
            self.under_way -= 1

    async def _follow(self, due: float) -> None:  # noqa: PLR0911 - one job's life, as it is told
        body = self.body()
        answer = await self._ask("match", "POST", "/v1/match", body, due=due, wanted=(OK,))
        if answer is None:
            return
        told = answer.json()
        self.journal.candidates += len(told["candidates"])
        if not told["candidates"]:
            self.journal.empty += 1
            return
        self.journal.matched += 1
        reservation = told["reservation"]
        if told["candidates"][0]["miner_id"] != reservation["miner_id"] or told["job_id"] != body["job_id"]:
            self.errors["match: another miner is first than the one reserved"] += 1
            return
        self.journal.granted += 1
        began_ns, miner_id = time.monotonic_ns(), reservation["miner_id"]
        end_ns = began_ns + (TTL_MS - 500) * 1_000_000  # it runs out by itself, on the hub's clock
        ends = self.dice.choices([name for name, _ in ENDS], [share for _, share in ENDS])[0]
        if ends == "forgotten":
            self.journal.forgotten += 1
            self.held.append(Held(miner_id, began_ns, end_ns))
            return
        await asyncio.sleep(self.dice.expovariate(1 / TAKEN_AFTER_S))
        if ends == "released":
            self.held.append(Held(miner_id, began_ns, min(end_ns, time.monotonic_ns())))
            gone = await self._ask("reservation", "DELETE", f"/v1/reservations/{reservation['id']}", wanted=(NOTHING,))
            self.journal.released += gone is not None
            return
        if ends == "rejected":
            self.held.append(Held(miner_id, began_ns, min(end_ns, time.monotonic_ns())))
            await self._feedback(body["job_id"], miner_id, "rejected")
            return
        if self.dice.random() < TOLD_ACCEPTED and not await self._feedback(body["job_id"], miner_id, "accepted"):
            return
        if self.dice.random() < RENEWED:
            path = f"/v1/reservations/{reservation['id']}/renew"
            renewed = await self._ask("reservation", "POST", path, {"reservation_ttl_ms": TTL_MS}, wanted=(OK,))
            self.journal.renewed += renewed is not None
        await asyncio.sleep(min(self.dice.expovariate(1 / JOB_S), 4 * JOB_S))
        self.held.append(Held(miner_id, began_ns, min(end_ns, time.monotonic_ns())))
        extra = {"latency_ms": round(self.dice.uniform(20, 200), 1)} if ends == "completed" else {"fail_code": "oom"}
        await self._feedback(body["job_id"], miner_id, ends, **extra)

    async def _feedback(self, job_id: str, miner_id: str, outcome: str, **extra: Any) -> bool:
        body = {"job_id": job_id, "miner_id": miner_id, "outcome": outcome, **extra}
        told = await self._ask("feedback", "POST", "/v1/feedback", body, wanted=(CREATED,))
        self.journal.feedback[outcome] += told is not None
        return told is not None

    async def _ask(
        self, what: str, method: str, path: str, body: Any = None, *, wanted: tuple[int, ...], due: float | None = None
    ) -> Answer | None:
        due = time.perf_counter() if due is None else due
        answer = await self.pool.ask(self.request(method, path, body))
        self.ms[what].append((time.perf_counter() - due) * 1e3)
        if answer.status in wanted:
            return answer
        self.errors[f"{what}: {answer.status} {answer.code}"] += 1
        return None


class Flood:
    """More than the hub can do, counted by what becomes of it."""

    def __init__(self, coordinator: Coordinator, connections: int) -> None:
        self._by, self._connections = coordinator, connections
        self._pool = Pool(coordinator.pool.port, connections)
        self._left = 0
        self._matched: list[tuple[float, float]] = []  # when it was due, and how long it took in ms
        self._refused: list[tuple[float, float]] = []
        self._failed: list[float] = []  # any other answer, or none
        self._counts: Counter[str] = Counter()
        self._without_retry_after = 0
        self._offered = 0
        self._took_s = 0.0
        # made beforehand but for the job's number: a client that works for each request takes the hub's own cores
        bodies = ({"job_id": f"job-{NUMBER}", **each, "reserve": True, "reservation_ttl_ms": 1_000} for each in SETS)
        made = (coordinator.request("POST", "/v1/match", body) for body in bodies)
        self._parts = [each.split(NUMBER.encode()) for each in made]

    async def at(self, rate: float, seconds: float) -> None:
        due = sums.arrivals(rate, seconds, seed=self._by.seed)
        self._offered = self._left = len(due)
        begin, sent = time.perf_counter(), 0
        while sent < len(due):
            now = time.perf_counter() - begin
            while sent < len(due) and due[sent] <= now:
                self._send(begin, float(due[sent]))
                sent += 1
            await asyncio.sleep(0.001)
        until = time.perf_counter() + seconds + 60
        while self._left and time.perf_counter() < until:  # noqa: ASYNC110 - done() runs often, this once
            await asyncio.sleep(0.02)
        self._took_s = time.perf_counter() - begin
        self._counts["never answered"] += self._left
        self._pool.close()

    async def closed(self, seconds: float) -> None:
        begin = time.perf_counter()

        async def one() -> None:
            while (at := time.perf_counter() - begin) < seconds:
                self._offered += 1
                answer = await self._pool.ask(self._data())
                self._count(answer, at, (time.perf_counter() - begin - at) * 1e3)

        await asyncio.gather(*(one() for _ in range(self._connections)))
        self._took_s = time.perf_counter() - begin
        self._pool.close()

    def told(self, seconds: float) -> dict[str, Any]:
        matched, refused = ([ms for _, ms in each] for each in (self._matched, self._refused))
        everything = sorted(
            [(at, ms) for at, ms in self._matched]
            + [(at, None) for at, _ in self._refused]
            + [(at, None) for at in self._failed],
            key=lambda each: each[0],
        )
        return {
            "offered_s": round(self._offered / seconds, 1),
            "took_s": round(self._took_s, 1),
            "matched_s": round(len(matched) / max(seconds, self._took_s), 1),
            "matched": sums.percentiles(matched),
            "refused": sums.percentiles(refused),
            "counts": self._counts,
            "without_retry_after": self._without_retry_after,
            "back_after_s": sums.back_after_s(
                [at for at, _ in everything], [ms for _, ms in everything], limit_ms=BACK_MS
            ),
        }

    def _data(self) -> bytes:
        self._by.numbers += 1
        number = self._by.numbers
        before, after = self._parts[number % len(self._parts)]
        return b"%b%0*d%b" % (before, len(NUMBER), number, after)

    def _send(self, begin: float, due: float) -> None:
        def done(answer: Answer) -> None:
            self._left -= 1
            self._count(answer, due, (time.perf_counter() - begin - due) * 1e3)

        self._pool.send(self._data(), done)

    def _count(self, answer: Answer, due: float, ms: float) -> None:
        if answer.status == OK:
            has_one = CANDIDATE in answer.body and b'"reservation":{' in answer.body
            self._counts["matched" if has_one else "no candidate"] += 1
            self._matched.append((due, ms))
            return
        self._counts[f"{answer.status} {answer.code}"] += 1
        if answer.status in REFUSALS:
            self._refused.append((due, ms))
            self._without_retry_after += answer.retry_after_s is None
        else:
            self._failed.append(due)


if __name__ == "__main__":
    serve(lambda: Coordinator(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])).commands())
