"""One miner's socket, for a client that holds thousands: frames by hand, a timer each, nothing else.

It obeys the contract: the hub's rhythm, its pings, its close codes.
"""

import asyncio
import base64
import os
import time
from collections.abc import Callable
from typing import Protocol, cast

import msgspec

from benchmarks.sockets.frames import NO_MASK, PING, heartbeat, pong

TEXT, CLOSE = 0x81, 0x88
NO_CODE = 1005
BROKEN = 1006  # it ended without a close frame
REFUSED = 1002  # its opening was answered with something else than a socket
ACK_EACH = 5  # one heartbeat in so many asks for an acknowledgement, which is what can be timed


class Said(msgspec.Struct):
    type: str
    next_heartbeat_sec: float = 0.0


_said = msgspec.json.Decoder(Said)


class Owner(Protocol):
    """Who is told what happens on the socket."""

    def beat(self) -> None: ...
    def acked(self, ms: float) -> None: ...
    def complained(self, text: str) -> None: ...
    def opened(self, socket: "MinerSocket") -> None: ...
    def ended(self, socket: "MinerSocket", code: int) -> None: ...


class MinerSocket(asyncio.Protocol):
    def __init__(self, owner: Owner, token: str, phase: Callable[[], float]) -> None:
        """phase: where in its rhythm it sends its first heartbeat, in [0, 1)."""
        self._owner, self._token, self._phase = owner, token, phase
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._got = b""
        self._is_open = self._has_ended = False
        self._rhythm_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._asked: dict[bytes, float] = {}  # text of an acknowledgement -> when it was asked for
        self._step = 0
        self._code = BROKEN

    def abort(self) -> None:
        """As when the machine loses its power."""
        self._has_ended = True
        self._end_timer()
        if self._transport is not None:
            self._transport.abort()

    # ---- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is of no class of asyncio
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            (
                "GET /v1/miners/heartbeat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {self._token}\r\n\r\n"
            ).encode()
        )

    def data_received(self, data: bytes) -> None:
        self._got = self._got + data if self._got else data
        if not self._is_open:
            head, found, rest = self._got.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._code = REFUSED
                self._transport.close()  # type: ignore[union-attr]
                return
            self._is_open, self._got = True, rest
        while len(self._got) >= 2:
            kind, size, begin = self._got[0], self._got[1], 2
            if size == 126:
                if len(self._got) < 4:
                    return
                size, begin = int.from_bytes(self._got[2:4], "big"), 4
            if len(self._got) < begin + size:
                return
            body, self._got = self._got[begin : begin + size], self._got[begin + size :]
            self._frame(kind, body)

    def connection_lost(self, error: Exception | None) -> None:
        self._end_timer()
        if not self._has_ended:
            self._has_ended = True
            self._owner.ended(self, self._code)

    # ---- inside

    def _frame(self, kind: int, body: bytes) -> None:
        if kind == TEXT:
            asked_at = self._asked.pop(body, None) if self._asked else None
            if asked_at is not None:
                self._owner.acked((time.perf_counter() - asked_at) * 1e3)
            else:
                self._hear(body)
        elif kind == PING:
            self._transport.write(pong(body))  # type: ignore[union-attr]
        elif kind == CLOSE:
            self._code = int.from_bytes(body[:2], "big") if len(body) >= 2 else NO_CODE
            self._transport.write(b"\x88" + bytes([0x80 | len(body)]) + NO_MASK + body)  # type: ignore[union-attr]
            self._transport.close()  # type: ignore[union-attr]

    def _hear(self, body: bytes) -> None:
        said = _said.decode(body)
        if said.next_heartbeat_sec > 0:
            self._rhythm_s = said.next_heartbeat_sec
        if said.type == "welcome":
            self._owner.opened(self)
            self._timer = self._loop.call_later(self._rhythm_s * self._phase(), self._beat)
        elif said.type != "pace":  # an error, or an acknowledgement that nobody has asked for
            self._owner.complained(body.decode())

    def _beat(self) -> None:
        assert self._transport is not None
        self._timer = self._loop.call_later(self._rhythm_s, self._beat)
        self._step += 1
        frame, ack = _frame_of(self._step)
        if ack:
            self._asked[ack] = time.perf_counter()
        self._transport.write(frame)
        self._owner.beat()

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _frame_of(step: int) -> tuple[bytes, bytes]:
    """A heartbeat, and the text of its acknowledgement where it asks for one."""
    frame, ack, _ = heartbeat(step, time.time())
    if step % ACK_EACH == 0:
        return frame, ack[2:]
    return frame.replace(b'"ack":true', b'"ack":null'), b""
