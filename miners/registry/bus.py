"""What the processes of one hub tell each other, over two Redis streams.

Promises. *Reports* of miners are coalesced for BATCH_S and published as one binary batch; *events* (a miner's row, a
removal, a socket, a hold, a reservation) go out one by one, in the order in which this process published them, as soon
as there is one. Everything is applied in the process where it happened first, and published afterwards: Redis away
changes nothing here. Every record may be applied twice and in any order between writers. A process that dies between
commit and publication loses the publication, not the fact: the hub's chores compare row versions with the database.

Nothing is lost unseen. Batches and events carry their writer and its count, a writer with nothing to say still sends
an empty batch a second, and a key of the streams' epoch tells when Redis has lost its data. Whoever sees a jump or a
new epoch asks everybody to tell their state once more, and asks the database for rows that are newer than its own.

Staleness: BATCH_S and the way through Redis for reports, the way alone for events. While Redis is away reports wait,
and `lag_ms` says so; rows are taken from the database instead, within a second of their commit (the more miners, the
later: a look takes LOOK_SHARE of the time at most), so that who has left is not offered.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import close_old_connections
from redis import Redis
from redis.exceptions import RedisError

from miners.registry import beats, snapshot
from miners.registry.beats import UnknownFormat
from miners.registry.publishing import (
    BATCH_S,
    EPOCH,
    EVENTS,
    KEEP_REPORTS_MS,
    REPORTS,
    RESEND,
    RETRY_S,
    Publisher,
    StreamId,
)
from miners.registry.store import Registry
from poolhub.common.breaker import Breaker

__all__ = [
    "BLOCK_MS",
    "EPOCH",
    "EVENTS",
    "KEEP_REPORTS_MS",
    "REPORTS",
    "RESEND",
    "Bus",
    "Event",
    "NotYet",
    "StreamId",
    "milliseconds",
]

logger = logging.getLogger(__name__)

BLOCK_MS = 500
CATCH_UP_S = 0.25
READ_COUNT = 500
AT_ONCE = 50  # events that are applied without anybody in between
REST_S = 1.0  # how long requests do without a Redis that failed
LONG_PAUSE_S = KEEP_REPORTS_MS / 2000  # a process stopped for longer may have missed what is no longer there
RECOVER_PAUSE_S = 1.0
DEAF_S = BLOCK_MS / 1000 + 0.1  # nothing was read for so long: what others commit has to be looked for
LOOK_S, LOOK_SHARE = 0.2, 0.5  # so often, and at most for so large a part of the time
MAX_STRANGERS = 100_000

Handler = Callable[[bytes], object]
START: StreamId = b"0-0"


def _order(position: StreamId) -> tuple[int, int]:
    first, _, second = position.partition(b"-")
    return int(first), int(second)


def milliseconds(position: StreamId) -> int:
    """When it was given, by the clock of Redis."""
    return _order(position)[0]


class NotYet(RuntimeError):
    """Too early to tell what this process knows."""


class Event(NamedTuple):
    """As it is on the stream."""

    ours: bool
    kind: str
    payload: bytes


class Bus(Publisher):
    """One process's end of the bus: a thread that publishes, one that applies, and one that looks into the database
    while there is nothing to be read."""

    def __init__(
        self,
        registry: Registry,
        connect: Callable[[], Redis],
        recover: Callable[[], object],
        *,
        asking: Callable[[], Redis],
    ) -> None:
        """connect: a client of its own for a thread that may wait. recover: compare rows with the database.
        asking: the client that requests share."""
        super().__init__(registry, connect)
        self._asking = asking
        self._applied = threading.Condition()
        self._recover = recover
        self._handlers: dict[bytes, Handler] = {}
        self._knowers: list[tuple[str, Callable[[], Iterable[bytes]]]] = []
        self._applying = threading.Lock()  # held where records are applied, taken before the registry's
        self._threads: list[threading.Thread] = []
        self._breaker = Breaker(rest_s=REST_S)
        self._heard: dict[int, list[int]] = {}  # writer -> [newest batch, newest event]
        self._epoch: Any = None
        self._positions: dict[str, StreamId] = {REPORTS: START, EVENTS: START}
        self._recover_due = False
        self._recovered_at = -RECOVER_PAUSE_S
        self._deaf = False  # the last try to read has failed
        self._strangers: set[int] = set()  # primary keys that the database did not know either
        self._before: Iterable[tuple[bytes, bytes]] = ()  # what others told, until the parts are there to hear it
        self._level_at = time.monotonic()  # when this process had last read everything there was
        self._delay_s = 0.0  # of the newest record read
        registry.join(self.writer)

    # ---- what others call

    def on(self, kind: str, handler: Handler) -> None:
        """Have events of a kind, published by other processes, applied by this; it runs in the reading thread."""
        self._handlers[kind.encode()] = handler

    def on_snapshot(self, kind: str, know: Callable[[], Iterable[bytes]]) -> None:
        """Have what this knows put into snapshots, as events of this kind; a process that starts applies them.

        Without a snapshot it applies those of this kind that are still on the stream: who told them may be gone.
        """
        self._knowers.append((kind, know))

    def position(self) -> StreamId:
        """What is on the event stream up to here has been applied."""
        return self._positions[EVENTS]

    def meanwhile(self, since: StreamId) -> list[Event]:
        """Publish what waits, and tell what came on the event stream after `since`, in its order, own events too:
        the newest MEANWHILE_COUNT at most. Nothing of it is applied.

        Nothing where Redis is away; what waits is then published later.
        """
        if not self._breaker.allows():
            return []
        try:
            newest_first = self._send_events(self._asking(), since=since, wait_s=CATCH_UP_S)[-1]
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            if self._breaker.failed():
                logger.warning("requests do without the bus: %s", error)
            return []
        self._breaker.worked()
        return [
            Event(int(fields[b"w"]) == self.writer, fields[b"k"].decode(), fields[b"p"])
            for _, fields in reversed(newest_first)
        ]

    def mark(self) -> None:
        """Read from here on: to be called before the database is read, whose rows the events after this bring up to
        date. What was reported before is asked of everybody, and what happened to jobs is read again."""
        self._before = self._told_before()
        try:
            client = self._connect()
            for stream in (REPORTS, EVENTS):
                newest: Sequence[Any] = client.xrevrange(stream, count=1)  # type: ignore[assignment]
                if newest:
                    self._positions[stream] = newest[0][0]
        except (RedisError, OSError) as error:
            logger.warning("the bus is away at the start: %s", error)
        self.publish(RESEND.decode(), b"")

    def copied(self, known: Mapping[int, int]) -> snapshot.Copy:
        """The registry and what the parts know, as of one place on the streams.

        Raises NotYet before both streams were read.
        """
        with self._applying, self._registry.lock:
            if self._epoch is None or START in self._positions.values():
                raise NotYet("the streams were not read yet")
            heard = {writer: (batch, event) for writer, (batch, event) in self._heard.items()}
            return snapshot.copied(
                self._registry,
                writer=self.writer,
                place=snapshot.Place(self._epoch, dict(self._positions), heard),
                events=[(kind, payload) for kind, know in self._knowers for payload in know()],
                known=known,
            )

    def resume(self, head: snapshot.Head) -> None:
        """Go on from a snapshot that the registry was filled with, in place of `mark`."""
        place = head.place
        self._epoch, self._positions = place.epoch, dict(place.positions)
        self._heard = {writer: list(counts) for writer, counts in place.heard.items()}
        self._before = [(kind.encode(), payload) for kind, payload in head.events]

    def start(self) -> None:
        self._apply_before()
        works = ((self._publish_on, "hub-publish"), (self._read_on, "hub-read"), (self._look_on, "hub-look"))
        for work, name in works:
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the threads; what waits is published first, where Redis takes it."""
        self._stop.set()
        self._wake.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def lag_ms(self) -> float:
        """How old the newest fact may be that this process does not have, as far as it can know."""
        idle = BLOCK_MS / 1000 + BATCH_S
        behind = max(0.0, time.monotonic() - self._level_at - idle)
        return round((behind + self._delay_s) * 1000, 1)

    def catch_up(self) -> None:
        """Wait until all events that are on the stream now are applied here, CATCH_UP_S at most."""
        try:
            newest: Sequence[Any] = self._asking().xrevrange(EVENTS, count=1)  # type: ignore[assignment]
        except (RedisError, OSError) as error:
            logger.debug("no events to catch up with: %s", error)
            return
        if newest:
            wanted = _order(newest[0][0])
            with self._applied:
                self._applied.wait_for(lambda: _order(self._positions[EVENTS]) >= wanted, CATCH_UP_S)

    # ---- applying

    def _read_on(self) -> None:
        client, failures = None, 0
        while not self._stop.is_set():
            try:
                if client is None:
                    client = self._connect()
                self._watch_epoch(client)
                self._read_once(client)
                if failures:
                    logger.warning("the bus reads again")
                    failures, self._deaf = 0, False
                    self._catch_up()
                self._recover_if_due()
            except (RedisError, OSError) as error:
                if not failures:
                    logger.warning("the bus cannot read: %s", error)
                client, failures, self._deaf = None, failures + 1, True
                self._stop.wait(RETRY_S[min(failures, len(RETRY_S)) - 1])
            except Exception:  # one bad record must not end the reading
                logger.exception("the bus passes over what it cannot apply")
            close_old_connections()

    def _look_on(self) -> None:
        """While nothing can be read, take what others have committed from the database: a logout, a disabling."""
        pause_s, failing = LOOK_S, False
        while not self._stop.wait(pause_s):
            pause_s = LOOK_S
            if not self._deaf and time.monotonic() - self._level_at < DEAF_S:
                continue
            begun = time.monotonic()
            try:
                self._recover()
                failing = False
            except Exception:  # the database may be away too
                if not failing:
                    logger.exception("the bus cannot be read, and the database cannot be asked instead")
                failing = True
            close_old_connections()
            pause_s = max(LOOK_S, (time.monotonic() - begun) * (1 / LOOK_SHARE - 1))

    def _watch_epoch(self, client: Redis) -> None:
        epoch = client.get(EPOCH)
        if epoch is None:
            self._meet(client)
            epoch = client.get(EPOCH)
        if epoch != self._epoch:
            before, self._epoch = self._epoch, epoch
            if before is not None:
                logger.warning("Redis has lost the streams: everything is told once more")
                self._positions = {REPORTS: START, EVENTS: START}
                self._catch_up()

    def _read_once(self, client: Redis) -> None:
        if time.monotonic() - self._level_at > LONG_PAUSE_S:
            self._catch_up()
        answer: Sequence[Any] = client.xread(self._positions, count=READ_COUNT, block=BLOCK_MS)  # type: ignore[assignment,arg-type]
        with self._applying:
            self._apply({name.decode(): entries for name, entries in answer}, client)

    def _apply(self, found: dict[str, Sequence[Any]], client: Redis) -> None:
        while len(found.get(EVENTS, ())) == READ_COUNT:
            # rows come before the reports of their miners, so all of them are read before any report is applied
            self._apply_events(found.pop(EVENTS))
            more: Sequence[Any] = client.xread({EVENTS: self._positions[EVENTS]}, count=READ_COUNT)  # type: ignore[assignment]
            found.update((name.decode(), entries) for name, entries in more)
        self._apply_events(found.get(EVENTS, ()))
        with self._applied:
            self._applied.notify_all()
        reports = found.get(REPORTS, ())
        self._apply_reports(reports)
        newest = reports[-1][0] if reports else None
        delay_s = 0.0 if newest is None else max(0.0, time.time() - milliseconds(newest) / 1000)
        if len(reports) < READ_COUNT:
            now, before = time.monotonic(), self._level_at
            self._level_at = now
            # it came since, whatever a clock says that differs from the one of Redis
            delay_s = min(delay_s, now - before)
        self._delay_s = delay_s

    def _apply_before(self) -> None:
        told, self._before = self._before, ()
        for kind, payload in told:
            handler = self._handlers.get(kind)
            try:
                if handler is not None:
                    handler(payload)
            except Exception:  # as one that comes later
                logger.exception("an event from before the start is passed over")

    def _told_before(self) -> Iterator[tuple[bytes, bytes]]:
        """What is on the stream up to the mark, of the kinds that a snapshot would have."""
        kinds = {kind.encode() for kind, _ in self._knowers}
        after, end = b"-", self._positions[EVENTS]
        try:
            client = self._connect()
            while kinds and end != START:
                found: Sequence[Any] = client.xrange(EVENTS, after, end, count=READ_COUNT)  # type: ignore[assignment]
                yield from ((fields[b"k"], fields[b"p"]) for _, fields in found if fields[b"k"] in kinds)
                if len(found) < READ_COUNT:
                    return
                after = b"(" + found[-1][0]
        except (RedisError, OSError) as error:
            logger.warning("the bus is away at the start: %s", error)

    def _apply_events(self, entries: Sequence[tuple[StreamId, dict[bytes, bytes]]]) -> None:
        for begin in range(0, len(entries), AT_ONCE):
            with self._registry.lock:  # once for many: where others hold it long, it would be waited for at each
                for position, fields in entries[begin : begin + AT_ONCE]:
                    try:
                        self._apply_event(fields)
                    finally:  # one that cannot be applied is passed over
                        self._positions[EVENTS] = position

    def _apply_event(self, fields: dict[bytes, bytes]) -> None:
        writer, number = int(fields[b"w"]), int(fields[b"n"])
        if writer == self.writer:
            return
        self._count(writer, 1, number)
        if fields[b"k"] == RESEND:
            self._resend_due = True
            return
        handler = self._handlers.get(fields[b"k"])
        if handler is not None:  # a newer version may tell what this one does not know
            handler(fields[b"p"])

    def _apply_reports(self, entries: Sequence[tuple[StreamId, dict[bytes, bytes]]]) -> None:
        for position, fields in entries:
            self._positions[REPORTS] = position
            try:
                batch = beats.unpack(fields[b"b"])
            except UnknownFormat as error:
                logger.warning("a batch of reports is passed over: %s", error)
                continue
            if batch.writer == self.writer:
                continue
            self._count(batch.writer, 0, batch.seq)
            self._missed(batch.writer, batch.told)
            if len(batch.beats):
                self._merge(batch.beats)

    def _merge(self, reports: beats.Beats) -> None:
        unknown = set(self._registry.merge(reports).tolist()) - self._strangers
        if unknown:
            self._recover()
            left = set(self._registry.merge(reports).tolist())
            if len(self._strangers) > MAX_STRANGERS:
                self._strangers.clear()
            self._strangers |= left

    def _count(self, writer: int, which: int, number: int) -> None:
        """Events of one writer are counted 1, 2, 3 …; batches too. A writer first met may be at any number."""
        heard = self._heard.setdefault(writer, [0, 0])
        before = heard[which]
        heard[which] = max(before, number)
        if before and number > before + 1:
            logger.warning("%d %s of a process were missed", number - before - 1, ("batches", "events")[which])
            self._catch_up()

    def _missed(self, writer: int, told: int) -> None:
        """Events come before the batch that says so: one that is not there now never comes."""
        heard = self._heard.setdefault(writer, [0, 0])
        if told > heard[1]:
            first, heard[1] = heard[1] == 0, told
            if not first:
                self._catch_up()

    def _catch_up(self) -> None:
        """Ask everybody for their state, once a RESEND_PAUSE_S, and the database for its rows."""
        self._resend_due = self._recover_due = self._call_due = True

    def _recover_if_due(self) -> None:
        if self._recover_due and time.monotonic() - self._recovered_at >= RECOVER_PAUSE_S:
            self._recovered_at = time.monotonic()
            self._recover()
            self._recover_due = False  # one that failed is tried again
