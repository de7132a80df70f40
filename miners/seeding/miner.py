"""One live mock miner: it registers, holds its socket and reports its load, and comes back as the contract says."""

import asyncio
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from miners.seeding.hub import OPENING_LIMIT_S, Hub, Refused
from miners.seeding.load import Load
from miners.seeding.policy import REASONS, RESTART_SPREAD_S, STABLE_S, Backoff, Reaction, reaction, until_next_s
from miners.seeding.population import MinerSpec
from miners.seeding.tally import Tally
from poolhub.common import clock, codec

SHORTEST_RHYTHM_S = 0.05
USUAL_RHYTHM_S = 20.0  # until the hub has said its own


class FromHub(msgspec.Struct):
    type: str
    next_heartbeat_sec: float = 0.0
    id: str = ""
    name: str = ""


_from_hub = msgspec.json.Decoder(FromHub)


class MockMiner:
    def __init__(self, spec: MinerSpec, hub: Hub, tally: Tally, rng: Random) -> None:
        self.spec = spec
        self.token: str | None = None
        self._hub, self._tally, self._rng = hub, tally, rng
        self._load = Load(spec, rng, now=clock.now())
        self._backoff = Backoff(rng)
        self._rhythm_s = USUAL_RHYTHM_S

    async def run(self) -> None:
        """Until it is told to stop by a code, refused, or cancelled."""
        while True:
            try:
                if self.token is None:
                    self.token = await self._hub.register(self.spec)
                code = await self._connection(self.token)
            except Refused as refusal:
                self._tally.stop(self.spec.miner_id, str(refusal))
                return
            match reaction(code):
                case Reaction.STOP:
                    assert code is not None
                    self._tally.stop(self.spec.miner_id, REASONS[code])
                    return
                case Reaction.SOON:
                    await asyncio.sleep(self._rng.uniform(0, RESTART_SPREAD_S))
                case Reaction.REGISTER:
                    self.token = None
                    await asyncio.sleep(self._backoff.pause_s())
                case Reaction.CONNECT:
                    await asyncio.sleep(self._backoff.pause_s())

    async def _connection(self, token: str) -> int | None:
        """One socket from its opening to its end: the close code, None where it broke or never opened."""
        loop, opened_at = asyncio.get_running_loop(), None
        try:
            async with AsyncExitStack() as stack:
                async with self._hub.opening:
                    socket = await stack.enter_async_context(self._hub.connect(token))
                    async with asyncio.timeout(OPENING_LIMIT_S):
                        self._hear(await socket.recv())
                opened_at = loop.time()
                with self._tally.connected(self.spec.miner_id):
                    await self._talk(socket)
        except ConnectionClosed as closed:
            return None if closed.rcvd is None else closed.rcvd.code
        except (OSError, TimeoutError, WebSocketException):
            return None
        finally:
            if opened_at is not None and loop.time() - opened_at >= STABLE_S:
                self._backoff.reset()
        return None

    async def _talk(self, socket: ClientConnection) -> None:
        """Heartbeats in the hub's rhythm, the first at once; answers in between. Returns to register again."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self.token is not None:
            try:
                async with asyncio.timeout_at(due):
                    message = self._hear(await socket.recv())
            except TimeoutError:
                await socket.send(codec.encode(self._heartbeat()).decode())
                self._tally.beats += 1
                due = loop.time() + until_next_s(self._rhythm_s, self._rng)
                continue
            due = min(due, loop.time() + self._rhythm_s)
            if message is not None and message.type == "command":
                await socket.send(codec.encode({"type": "command.ack", "id": message.id, "ok": True}).decode())
                self._obey(message.name)

    def _hear(self, text: str | bytes) -> FromHub | None:
        """What the hub says; its rhythm, told by welcome and pace, is taken over. None for what is no message."""
        try:
            message = _from_hub.decode(text)
        except msgspec.DecodeError:
            self._tally.errors += 1
            return None
        if message.type == "error":
            self._tally.errors += 1
        if message.next_heartbeat_sec > 0:
            self._rhythm_s = max(SHORTEST_RHYTHM_S, message.next_heartbeat_sec)
        return message

    def _obey(self, command: str) -> None:
        """What a command changes here; a price cap and tags hold at the hub, whatever the miner does."""
        if command == "reregister":
            self.token = None
        elif command in ("drain", "resume"):
            self._load.draining = command == "drain"

    def _heartbeat(self) -> dict[str, Any]:
        now = clock.now()
        reading = self._load.reading(now)
        return {
            "ts": clock.to_rfc3339(now),
            "queue_len": reading.queue_len,
            "busy": reading.busy,
            "avg_latency_ms": reading.latency_ms,
            "temp_c": reading.temp_c,
            "mem_free_gb": reading.mem_free_gb,
        }
