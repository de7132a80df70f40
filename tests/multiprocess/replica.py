"""One process with a registry and its end of the bus: ``python -m tests.multiprocess.replica URL MINERS SINCE [FROM]``.

FROM the hub's snapshot: "place", or "nowhere" for the control, which goes on from now instead of from the snapshot's place.

Reads a command a line (JSON) and answers each with a line: it reports at random, on its own too, and tells its digest.
"""

import json
import sys
import threading
import time
from random import Random
from typing import Any

import django
from msgspec import structs
from redis import Redis

from tests.settings import SECRET_KEY  # sets the environment that Django reads

assert SECRET_KEY
django.setup()

from miners.registry import keeper  # noqa: E402
from miners.registry.bus import EVENTS, REPORTS, Bus  # noqa: E402
from miners.registry.records import Report  # noqa: E402
from miners.registry.store import Registry  # noqa: E402
from tests.miners.registry.builders import empty  # noqa: E402
from tests.miners.registry.replicas import bus_of, digest, pool  # noqa: E402


class Replica:
    def __init__(self, url: str, miners: int, since: float, resumed: str = "") -> None:
        self.miners = miners
        self.registry: Registry = empty() if resumed else pool(miners, now=since)
        self.bus: Bus = bus_of(self.registry, url)
        self.bus.on("removal", lambda payload: self.registry.remove(payload.decode()))
        if resumed:
            head = keeper.take(self.registry, Redis.from_url(url), now=time.time())
            assert head is not None
            if resumed == "nowhere":
                head = structs.replace(head, place=structs.replace(head.place, positions=newest(url), heard={}))
            self.bus.resume(head)
        else:
            self.bus.mark()
        self.bus.start()
        self.maker = keeper.Maker(self.bus, Redis.from_url(url))
        self.going = threading.Event()
        self.sent = 0

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

    def go_on(self, seed: int, per_s: int) -> bool:
        """Report so often until `rest`."""
        self.going.set()

        def work() -> None:
            batch = max(1, per_s // 100)
            number = seed * 1_000_000
            while self.going.is_set():
                number += 1
                self.report(batch, number)
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
