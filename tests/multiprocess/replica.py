"""One process with a registry and its end of the bus: ``python -m tests.multiprocess.replica URL MINERS SINCE``.

Reads a command a line (JSON) and answers each with a line: it reports at random, on its own too, and tells its digest.
"""

import json
import sys
import threading
import time
from random import Random
from typing import Any

import django

from tests.settings import SECRET_KEY  # sets the environment that Django reads

assert SECRET_KEY
django.setup()

from miners.registry.bus import Bus  # noqa: E402
from miners.registry.records import Report  # noqa: E402
from miners.registry.store import Registry  # noqa: E402
from tests.miners.registry.replicas import digest, join, pool  # noqa: E402


class Replica:
    def __init__(self, url: str, miners: int, since: float) -> None:
        self.miners = miners
        self.registry: Registry = pool(miners, now=since)
        self.bus: Bus = join(self.registry, url)
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


def main(url: str, miners: str, since: str) -> None:
    replica = Replica(url, int(miners), float(since))
    print(json.dumps("ready"), flush=True)  # noqa: T201 - the protocol
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(getattr(replica, command)(*arguments)), flush=True)  # noqa: T201 - the protocol
        if command == "stop":
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
