"""One process, by lines of JSON: python -m benchmarks.replication.peer writer|reader WAY URL MINERS SEED."""

import sys
import time
from dataclasses import replace
from typing import Any

import django
import numpy as np

django.setup()

from benchmarks.population import miner_id, population  # noqa: E402
from benchmarks.processes import serve_lines  # noqa: E402
from benchmarks.replication.ways import WAYS, connect  # noqa: E402
from miners.registry import beats  # noqa: E402
from miners.registry.bus import REPORTS  # noqa: E402
from miners.registry.records import Report  # noqa: E402
from miners.registry.store import Registry  # noqa: E402

SLICE_S = 0.002
LEAST_LATENCY_MS, LEAST_FREE_GB = 20.0, 12.0
FLOOD_LIMIT_S = 120.0
FIELDS = (
    "queue_len",
    "busy",
    "reported_latency",
    "mem_free_gb",
)  # columns that the writer and the reader must agree on


class Peer:
    def __init__(self, role: str, way: str, url: str, miners: int, seed: int) -> None:
        self.url, self.miners = url, miners
        self.registry = registry_of(miners if role == "reader" else 0, seed)  # a writer only passes on
        self.way = WAYS[way](self.registry, url)
        self.ages: list[np.ndarray[Any, np.dtype[np.float64]]] = []
        self.draw = np.random.default_rng(seed)
        self.sent = np.full(miners, -1)  # the load that each miner has reported last

    def listen(self) -> bool:
        self.way.start(self.ages.append)
        return True

    def write(self, per_s: int, seconds: float) -> dict[str, float]:
        """Report at a steady rate, of miners drawn at random. Where it is behind its time it does not wait."""
        sent, total = 0, int(per_s * seconds)
        who = self.draw.integers(0, self.miners, total).tolist()
        load = self.draw.integers(0, 8, total).tolist()
        begun, cpu = time.time(), time.process_time()
        while sent < total:
            due = min(total, int((time.time() - begun) * per_s) + 1)
            self.way.send([(who[i] + 1, _report(load[i])) for i in range(sent, due)])
            sent = due
            ahead = begun + sent / per_s - time.time()
            if ahead > 0:
                time.sleep(min(ahead, SLICE_S))
        spent = time.time() - begun
        self.sent[who] = load  # of a miner's several the last one stays
        return {"sent": sent, "seconds": spent, "cpu": (time.process_time() - cpu) / spent}

    def applied(self) -> int:
        return sum(map(len, self.ages))

    def heard(self) -> dict[str, float]:
        """What was applied since the last call, and how old it was then."""
        ages = np.concatenate(self.ages) if self.ages else np.zeros(0)
        self.ages.clear()
        if not len(ages):
            return {"applied": 0}
        p50, p99 = np.percentile(ages, (50, 99)) * 1000
        return {
            "applied": len(ages), "p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2),
            "max_ms": round(float(ages.max()) * 1000, 2),
        }  # fmt: skip

    def processor_s(self) -> float:
        return time.process_time()

    def digest(self) -> list[float]:
        """Sums over what the registry holds, by column."""
        with self.registry.lock:
            slots = np.array([self.registry.slots[miner_id(i)] for i in range(self.miners)])
            return self._sums(*(getattr(self.registry.columns, name)[slots] for name in FIELDS))

    def sent_digest(self) -> list[float]:
        """The same over what was written."""
        load = self.sent
        told = load >= 0
        values = (load, load > 0, LEAST_LATENCY_MS + load, LEAST_FREE_GB + load)
        return self._sums(*(np.where(told, each, 0) for each in values))

    def own_per_s(self, count: int) -> float:
        """How many reports a process takes in itself and puts into its batches, one by one."""
        who = [miner_id(index) for index in self.draw.integers(0, self.miners, count).tolist()]
        load = self.draw.integers(0, 8, count).tolist()
        assert self.registry.outbox is not None
        begun = time.process_time()
        for name, each in zip(who, load, strict=True):
            self.registry.report(name, _report(each))
        spent = time.process_time() - begun
        assert len(self.registry.outbox) == count
        self.registry.outbox.clear()
        return count / spent

    def _sums(self, *columns: np.ndarray[Any, Any]) -> list[float]:
        weight = np.arange(1, self.miners + 1)
        return [float(np.nansum(each * weight)) for each in columns]

    def flood(self, count: int, batch: int) -> bool:
        """Put so many heartbeats onto the stream, as another process would have, in batches of that size."""
        client, writer, now = connect(self.url), 7, time.time()
        for seq in range(1, count // batch + 1):
            made = np.zeros(batch, beats.BEAT)
            made["pk"] = self.draw.integers(1, self.miners + 1, batch)
            made["at"] = now + seq / 1000 + np.arange(batch) / 1e6
            made["ts"] = made["at"]
            made["latency_ms"] = self.draw.integers(20, 300, batch)
            made["mem_free_gb"] = self.draw.integers(1, 24, batch)
            made["queue_len"] = self.draw.integers(0, 4, batch)
            made["named"] = beats.TS | beats.QUEUE | beats.BUSY | beats.LATENCY | beats.MEM
            client.xadd(REPORTS, {b"b": beats.pack(writer, seq, 0, made)})
        return True

    def catch_up(self, count: int) -> dict[str, float]:
        """Apply what was put there meanwhile, from the position that was marked when this process came."""
        begun, cpu = time.perf_counter(), time.process_time()
        self.way.bus.start()  # type: ignore[attr-defined]
        while self.applied() < count:
            assert time.perf_counter() - begun < FLOOD_LIMIT_S, f"{self.applied()} of {count} were applied"
            time.sleep(0.002)
        return {"seconds": time.perf_counter() - begun, "cpu_s": time.process_time() - cpu}

    def mark(self) -> bool:
        """Listen from here on, but do not begin yet."""
        bus = self.way.bus  # type: ignore[attr-defined]
        start, bus.start = bus.start, lambda: None
        self.listen()
        bus.start = start
        return True

    def stop(self) -> bool:
        self.way.stop()
        return True


def registry_of(miners: int, seed: int) -> Registry:
    """Miners with primary keys 1 …, whose sessions began before anything is reported here."""
    made = Registry(session_ttl_s=43_200, grace_s=86_400, half_life_s=30 * 86_400.0)
    now = time.time()
    for pk, (row, _) in enumerate(population(miners, seed).rows(), start=1):
        made.upsert(replace(row, pk=pk), now=now)
    assert len(made) == miners
    return made


def _report(load: int) -> Report:
    now = time.time()
    return Report(at=now, ts=now, queue_len=load, busy=load > 0, latency_ms=20.0 + load, mem_free_gb=12.0 + load)


if __name__ == "__main__":
    peer = Peer(*sys.argv[1:4], miners=int(sys.argv[4]), seed=int(sys.argv[5]))
    print("true", flush=True)
    names = (
        "listen", "write", "applied", "heard", "processor_s", "digest", "sent_digest", "own_per_s", "flood", "catch_up",
        "mark", "stop",
    )  # fmt: skip
    serve_lines({name: getattr(peer, name) for name in names})
