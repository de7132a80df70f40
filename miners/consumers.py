"""WS /v1/miners/heartbeat: what a miner reports, applied as it comes.

Promises: a message touches the registry alone, never the database; a refused or broken message never ends the consumer.
Only the lease says whether a miner lives, not its socket.
"""

import asyncio
import contextvars
import logging
from collections.abc import Coroutine, Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
from channels.db import database_sync_to_async
from msgspec import Meta
from structlog.contextvars import bind_contextvars

from miners import connections, pacing
from miners.authentication import Session, Standing, session_read, session_standing, standing
from miners.connections import Command
from miners.profile import refuse, unsafe_texts
from miners.regions.probes import probes
from miners.registry.records import Report
from miners.registry.runtime import get_registry, loaded, socket_tell
from miners.reports import socket_report
from miners.serializers import CommandAck, Heartbeat, SocketMessage
from miners.services.delivery import Answer, delivery
from miners.services.telemetry import socket_report_apply
from miners.throttle import BURST, MESSAGES_PER_S, TokenBucket
from poolhub.common import clock, codec
from poolhub.common.errors import HubError, ValidationFailed
from poolhub.common.metrics import HEARTBEATS
from poolhub.common.sockets import HubSocket, header_of

logger = logging.getLogger(__name__)

AwareTime = Annotated[datetime, Meta(tz=True)]

MAX_MESSAGE_BYTES = 16 * 1024
MAX_INVALID = 10
ACK = b"command.ack"


class HeartbeatConsumer(HubSocket):
    """One miner's socket."""

    def __init__(self) -> None:
        super().__init__()
        self.miner_id = ""
        self.session = 0
        self.opened_at = clock.now()
        self._session = Session("", 0)
        self._bucket = TokenBucket(MESSAGES_PER_S, BURST, now=clock.now())
        self._invalid = 0
        self._told: set[UUID] = set()  # commands, over this socket
        self._telling = asyncio.Lock()  # so that commands keep their order
        self._tasks: set[asyncio.Task[None]] = set()
        self._context = contextvars.copy_context()
        self._beats = HEARTBEATS.labels(transport="ws")

    def left(self) -> None:
        connections.discard(self)
        logger.debug("a miner's socket has ended")

    # ---- what `connections` asks for, on the socket's own loop

    def end(self, code: int) -> None:
        self._start(self.close(code))

    def pace(self) -> None:
        self._start(self._send({"type": "pace", **_rhythm()}))

    def command(self, commands: Sequence[Command]) -> None:
        self._start(self._command(commands))

    # ---- what comes

    async def connected(self) -> None:
        session = session_read(self._token())
        found = Standing.ENDED if session is None else await self._standing(session)
        if session is not None and found is Standing.LIVE:
            self.miner_id, self.session, self._session = session.miner_id, session.number, session
            bind_contextvars(miner_id=session.miner_id)
            self._context = contextvars.copy_context()
            connections.add(self)
            logger.debug("a miner's socket has opened")
            socket_tell(session.miner_id, self.opened_at)
            # looked at again: what ended the session since has found no socket to close
            found = socket_report_apply(session, Report(at=clock.now()))
        if found is not Standing.LIVE:
            await self._refuse(found)
            return
        await self._send({"type": "welcome", "miner_id": self.miner_id, **_rhythm()})
        delivery.ask(self.miner_id)

    async def _standing(self, session: Session) -> Standing:
        registry = loaded() or await database_sync_to_async(get_registry, thread_sensitive=False)()
        found = standing(registry, session, now=clock.now())
        if found is Standing.UNSEEN:
            found = await database_sync_to_async(session_standing)(session, now=clock.now())
        return found

    async def received(self, data: bytes, *, binary: bool) -> None:
        now = clock.now()
        if len(data) > MAX_MESSAGE_BYTES:
            await self.close(connections.TOO_LARGE)
            return
        if not self._bucket.take(now):
            await self.close(connections.TOO_MANY)
            return
        try:
            said = _read(data, binary=binary)
        except HubError as error:
            await self._complain(error)
            return
        self._invalid = 0
        if isinstance(said, CommandAck):
            await self._answered(said, now)
            return
        beat, ts = said
        found = socket_report_apply(self._session, socket_report(beat, ts, now=now))
        if found is not Standing.LIVE:
            await self._refuse(found)
            return
        self._beats.inc()
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("a heartbeat: queue_len %d", beat.queue_len)
        if beat.probes:
            probes.take(self.miner_id, beat.probes, now=now)
        if beat.ack:
            await self.tell(b'{"type":"ack","ts":"%b"}' % beat.ts.encode())  # a time has nothing to escape

    async def _answered(self, ack: CommandAck, now: float) -> None:
        found = socket_report_apply(self._session, Report(at=now))
        if found is Standing.LIVE:
            delivery.answered(UUID(ack.id), Answer(self.miner_id, ack.ok, ack.detail, now))
        else:
            await self._refuse(found)

    async def _command(self, commands: Sequence[Command]) -> None:
        async with self._telling:
            for each in commands:
                if each.id in self._told:
                    continue
                if self.closed:
                    return  # the next socket gets it
                self._told.add(each.id)
                try:
                    await self._send({"type": "command", "id": str(each.id), "name": each.name, "args": each.args})
                except OSError:
                    logger.debug("socket of miner %s had gone before a command", self.miner_id)
                    return
                delivery.sent(each.id)

    async def _complain(self, error: HubError) -> None:
        self._invalid += 1
        await self._send({"type": "error", "code": error.code, "detail": error.detail})
        if self._invalid >= MAX_INVALID:
            await self.close(connections.INVALID)

    async def _refuse(self, found: Standing) -> None:
        await self.close(connections.DISABLED if found is Standing.DISABLED else connections.ENDED)

    async def _send(self, message: dict[str, object]) -> None:
        await self.tell(codec.encode(message))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work, context=self._context)  # not that of who asks
        self._tasks.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._tasks.discard)

    def _token(self) -> str | None:
        scheme, _, token = (header_of(self.scope, b"authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return token.strip()
        query = parse_qs(self.scope.get("query_string", b"").decode("latin-1"))
        return next(iter(query.get("session_token", [])), None)


def _rhythm() -> dict[str, float]:
    now = pacing.pace()
    return {"next_heartbeat_sec": now.next_heartbeat_s, "lease_ttl_sec": now.lease_ttl_s}


def _read(data: bytes, *, binary: bool) -> tuple[Heartbeat, float] | CommandAck:
    """The heartbeat and its ts as epoch seconds, or the answer to a command; HubError for anything else."""
    if binary:
        raise ValidationFailed("messages are JSON in text frames", code="binary_message")
    if ACK in data and codec.decode(data, SocketMessage).type == ACK.decode():
        return _ack(data)
    beat = codec.decode(data, Heartbeat)
    if beat.type not in (None, "heartbeat"):
        raise ValidationFailed("a miner sends messages of type heartbeat or command.ack", code="unknown_type")
    try:
        return beat, msgspec.convert(beat.ts, AwareTime).timestamp()
    except msgspec.ValidationError as error:
        raise ValidationFailed("ts is a time as in RFC 3339, with its offset", code="invalid_time") from error


def _ack(data: bytes) -> CommandAck:
    ack = codec.decode(data, CommandAck)
    refuse(unsafe_texts({"detail": ack.detail}))
    return ack
