"""The two ways that a heartbeat takes from one process to another: the hub's own, and the plain one beside it.

Each has a writer's side (`send`, called every few milliseconds with the reports that are due) and a reader's (`start`,
which has whatever arrives applied to the registry and tells how old each heartbeat was then). A writer passes on what
several socket processes would have received: it does not apply anything itself.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray
from redis import Redis

from benchmarks.population import miner_id
from miners.registry import beats
from miners.registry.bus import Bus
from miners.registry.records import Report
from miners.registry.store import Registry

CHANNEL = "bench:heartbeats"
CONNECT_S, ANSWER_S = 0.5, 5.0

Ages = Callable[[NDArray[np.float64]], object]  # seconds from the hub's time of a heartbeat until it is applied here


def connect(url: str) -> Redis:
    return Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=CONNECT_S)


class Way(Protocol):
    def send(self, due: Sequence[tuple[int, Report]]) -> None: ...
    def start(self, aged: Ages) -> None: ...
    def stop(self) -> None: ...


class Streams:
    """The hub's: what was reported is coalesced for 20 ms and published as one binary batch."""

    def __init__(self, registry: Registry, url: str) -> None:
        self._registry = registry
        self.bus = Bus(registry, lambda: connect(url), lambda: None, asking=lambda: connect(url))

    def send(self, due: Sequence[tuple[int, Report]]) -> None:
        outbox = self._registry.outbox
        assert outbox is not None
        outbox += [beats.beat_of(pk, report, report.at, 0) for pk, report in due]

    def start(self, aged: Ages) -> None:
        """Both threads, as in every process of a hub."""
        merge = self._registry.merge

        def merge_and_tell(batch: beats.Beats) -> NDArray[np.uint64]:
            unknown = merge(batch)
            aged(time.time() - batch["at"])
            return unknown

        self._registry.merge = merge_and_tell  # type: ignore[method-assign]
        self.bus.mark()
        self.bus.start()

    def stop(self) -> None:
        self.bus.stop()


class Message(msgspec.Struct):
    miner_id: str
    at: float
    ts: float
    queue_len: int
    busy: bool
    latency_ms: float
    mem_free_gb: float


_decode = msgspec.json.Decoder(Message).decode
_encode = msgspec.json.Encoder().encode


class PubSub:
    """The plain one: a JSON message a heartbeat over pub/sub, applied one by one. Favoured: what is due together goes
    out in one pipeline, and JSON is read by msgspec into a struct."""

    def __init__(self, registry: Registry, url: str) -> None:
        self._registry, self._url = registry, url
        self._client = connect(url)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def send(self, due: Sequence[tuple[int, Report]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for pk, report in due:
            assert report.ts is not None
            assert report.queue_len is not None
            assert report.latency_ms is not None
            assert report.mem_free_gb is not None
            message = Message(
                miner_id(pk - 1), report.at, report.ts, report.queue_len, bool(report.busy), report.latency_ms,
                report.mem_free_gb,
            )  # fmt: skip
            pipeline.publish(CHANNEL, _encode(message))
        pipeline.execute()

    def start(self, aged: Ages) -> None:
        heard = connect(self._url).pubsub(ignore_subscribe_messages=True)
        heard.subscribe(CHANNEL)
        heard.get_message(timeout=1.0)

        def read() -> None:
            while not self._over.is_set():
                found = heard.get_message(timeout=0.2)
                if found is None:
                    continue
                message = _decode(found["data"])
                report = Report(
                    at=message.at, ts=message.ts, queue_len=message.queue_len, busy=message.busy,
                    latency_ms=message.latency_ms, mem_free_gb=message.mem_free_gb,
                )  # fmt: skip
                self._registry.report(message.miner_id, report)
                aged(np.array([time.time() - message.at]))
            heard.close()

        self._thread = threading.Thread(target=read, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()


WAYS: dict[str, Callable[[Registry, str], Way]] = {"streams": Streams, "JSON over pub/sub": PubSub}
