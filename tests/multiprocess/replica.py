"""One process with a registry, a ledger and its end of the bus: ``python -m tests.multiprocess.replica URL MINERS SINCE
[FROM]``.

FROM the hub's snapshot: "place". Without one that it can take, it begins with what the database would tell it, and asks
the others, as a hub's process does. Controls are "nowhere", which goes on from now instead of from the snapshot's place,
and "unheld", which passes over the holds in it.

Reads a command a line (JSON) and answers each with a line: it reports and holds at random, on its own too, and tells its
digest.
"""

import json
import sys
import threading
import time
from collections.abc import Sequence
from random import Random
from typing import Any

import django
from msgspec import structs
from redis import Redis

from tests.settings import SECRET_KEY  # sets the environment that Django reads

assert SECRET_KEY
django.setup()

from matching.reservations import sharing  # noqa: E402
from matching.reservations.holds import Happening, Outcome  # noqa: E402
from matching.reservations.ledger import Ledger  # noqa: E402
from matching.reservations.memory import MemoryStore  # noqa: E402
from miners.registry import keeper  # noqa: E402
from miners.registry.bus import EVENTS, REPORTS, Bus  # noqa: E402
from miners.registry.records import Report  # noqa: E402
from miners.registry.store import Registry  # noqa: E402
from tests.miners.registry.builders import empty  # noqa: E402
from tests.miners.registry.replicas import bus_of, digest, pool  # noqa: E402

JOBS = 80  # whatever a process does to a job, others do to it too
HELD_FROM = 100  # miners before it are held by no job, so that they can be removed
TTL_MS = 120_000


class Replica:
    def __init__(self, url: str, miners: int, since: float, resumed: str = "") -> None:
        self.miners = miners
        self.registry, head = empty(), None
        if resumed:
            head = keeper.take(self.registry, Redis.from_url(url), now=time.time())
        self.source = "database" if head is None else "snapshot"
        if head is None:
            self.registry: Registry = pool(miners, now=since)
        self.bus: Bus = bus_of(self.registry, url)
        self.bus.on("removal", lambda payload: self.registry.remove(payload.decode()))
        if head is None:
            self.bus.mark()
        else:
            if resumed == "nowhere":
                head = structs.replace(head, place=structs.replace(head.place, positions=newest(url), heard={}))
            self.bus.resume(structs.replace(head, events=[]) if resumed == "unheld" else head)
        self.ledger = Ledger(self.registry, MemoryStore(), job_ttl_s=TTL_MS / 1000, tell=self.tell)
        self.registry.ledger = self.ledger
        sharing.join(self.ledger, self.bus)
        self.bus.start()
        self.maker = keeper.Maker(self.bus, Redis.from_url(url))
        self.going = threading.Event()
        self.sent = 0

    def tell(self, job_id: str, happened: Sequence[Happening]) -> None:
        self.bus.publish(sharing.JOB, sharing.job_payload(job_id, happened))

    def where_from(self) -> str:
        return self.source

    def report(self, count: int, seed: int) -> int:
        random = Random(seed)
        for _ in range(count):
            fields: dict[str, Any] = {
                name: random.randrange(5)
                for name in ("queue_len", "jobs", "latency_ms", "temp_c", "mem_free_gb")
                if random.random() < 0.6
            }
            if random.random() < 0.3:
                fields["busy"] = random.random() < 0.5
            miner_id = f"m{random.randrange(self.miners) + 1:05}"
            self.registry.report(miner_id, Report(at=time.time(), **fields))
        self.sent += count
        return count

    def hold(self, count: int, seed: int) -> int:
        """So often something happens to a job: it is offered, or told of."""
        random = Random(seed)
        for _ in range(count):
            job_id, now = f"j{random.randrange(JOBS)}", time.time()
            named = [f"m{random.randrange(HELD_FROM, self.miners) + 1:05}" for _ in range(3)]
            held = self.ledger.hold_of(job_id)
            if held is None or random.random() < 0.5:
                self.ledger.hold(job_id, named, ttl_ms=TTL_MS, now=now)
            else:
                told = random.choice([*held.candidates, named[0]])
                self.ledger.settle(job_id, told, random.choice(list(Outcome)), now=now)
        return count

    def held(self) -> int:
        """Slots that the registry counts for jobs."""
        return int(self.registry.columns.own[: self.registry.size].sum())

    def go_on(self, seed: int, per_s: int) -> bool:
        """Report so often until `rest`, and hold a tenth as often."""
        self.going.set()

        def work() -> None:
            batch = max(1, per_s // 100)
            number = seed * 1_000_000
            while self.going.is_set():
                number += 1
                self.report(batch, number)
                self.hold(max(1, batch // 10), number)
                time.sleep(batch / per_s)

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()
        return True

    def rest(self) -> int:
        self.going.clear()
        self.thread.join()
        return self.sent

    def make(self) -> bool:
        """The snapshot, where its time has come."""
        return self.maker.make()

    def make_on(self) -> bool:
        """Again and again, as fast as its rest allows."""

        def work() -> None:
            while True:
                self.maker.make()
                time.sleep(0.01)

        threading.Thread(target=work, daemon=True).start()
        return True

    def remove(self, miner_id: str) -> bool:
        """Here, and told to the others as an event."""
        self.bus.publish("removal", miner_id.encode())
        return self.registry.remove(miner_id)

    def digest(self) -> dict[str, str]:
        return digest(self.registry)

    def lag_ms(self) -> float:
        return self.bus.lag_ms()

    def deaf(self) -> bool:
        """For the control: pass over what comes, and call for nothing."""
        self.registry.merge = lambda batch: batch["pk"][:0]  # type: ignore[method-assign]
        self.bus._catch_up = lambda: None  # type: ignore[method-assign]
        return True

    def stop(self) -> bool:
        self.bus.stop()
        return True


def newest(url: str) -> dict[str, bytes]:
    client = Redis.from_url(url)
    return {stream: client.xrevrange(stream, count=1)[0][0] for stream in (REPORTS, EVENTS)}


def main(url: str, miners: str, since: str, resumed: str = "") -> None:
    replica = Replica(url, int(miners), float(since), resumed)
    print(json.dumps("ready"), flush=True)  # noqa: T201 - the protocol
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(getattr(replica, command)(*arguments)), flush=True)  # noqa: T201 - the protocol
        if command == "stop":
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
