"""The hub as miners meet it from outside: registration over REST, then a socket.

At most REGISTERING requests and OPENING handshakes are under way at once, however many miners there are, so that a
fleet does not bury the hub that it comes back to. A 429 holds back all of them until its Retry-After. What the network
or a 5xx spoils is tried again for ever, after growing pauses; only the hub's own refusal ends that.
"""

import asyncio
import logging
from random import Random
from types import TracebackType
from typing import Self

import httpx
import msgspec
from websockets.asyncio.client import connect

from miners.seeding.policy import Backoff
from miners.seeding.population import MinerSpec
from poolhub.common import codec

REGISTERING = 32
OPENING = 64
REQUEST_LIMIT_S = 30.0
OPENING_LIMIT_S = 20.0
CLOSING_LIMIT_S = 2.0
LOOK_LIMIT_S = 2.0

OTHER_KEY = " (made with another --seed, or enrolment is closed: then make them without --live first)"

# what a socket meets is the miner's to judge and the tally's to count, not a line of the log for each of thousands
quiet = logging.getLogger("miners.seeding.socket")
quiet.addHandler(logging.NullHandler())
quiet.propagate = False


class Refused(Exception):
    """The hub's own word that it does not want this miner."""


class Registered(msgspec.Struct):
    session_token: str


class Problem(msgspec.Struct):
    detail: str = ""


class Hub:
    """`base` is like http://127.0.0.1:8203, without a slash at its end."""

    def __init__(self, base: str, *, rng: Random) -> None:
        self._base, self._rng = base, rng
        self._client = httpx.AsyncClient(
            base_url=base,
            timeout=REQUEST_LIMIT_S,
            limits=httpx.Limits(max_connections=REGISTERING, max_keepalive_connections=REGISTERING),
            trust_env=False,  # straight to the hub, as the sockets go
        )
        self._requests = asyncio.Semaphore(REGISTERING)
        self._held_until = 0.0  # by the loop's clock
        self.opening = asyncio.Semaphore(OPENING)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def trouble(self) -> str | None:
        """Why nothing answers there; None where something does, whatever it says."""
        try:
            await self._client.get("/v1/health", timeout=LOOK_LIMIT_S)
        except httpx.TransportError as error:
            return str(error) or type(error).__name__
        return None

    async def register(self, spec: MinerSpec) -> str:
        """The token of a new session; Refused."""
        answer = await self._post("/v1/miners/register", body=codec.encode(spec.body()))
        if not answer.is_success:
            raise Refused(_refusal(answer) + (OTHER_KEY if answer.status_code == httpx.codes.UNAUTHORIZED else ""))
        try:
            return msgspec.json.decode(answer.content, type=Registered).session_token
        except msgspec.DecodeError:
            raise Refused(f"{answer.status_code} without a session token: that is no hub") from None

    async def logout(self, token: str) -> bool:
        answer = await self._post("/v1/miners/logout", token=token)
        return answer.is_success

    def connect(self, token: str) -> connect:
        return connect(
            f"{self._base.replace('http', 'ws', 1)}/v1/miners/heartbeat",
            additional_headers={"Authorization": f"Bearer {token}"},
            compression=None,
            proxy=None,
            open_timeout=OPENING_LIMIT_S,
            close_timeout=CLOSING_LIMIT_S,
            max_queue=4,
            logger=quiet,
        )

    async def _post(self, path: str, *, body: bytes = b"", token: str | None = None) -> httpx.Response:
        headers = {"Content-Type": "application/json"} if body else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        backoff = Backoff(self._rng)
        while True:
            async with self._requests:
                await self._until_let()
                try:
                    answer = await self._client.post(path, content=body, headers=headers)
                except httpx.TransportError:
                    answer = None
                if answer is not None and answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
                    self._hold(_retry_after_s(answer))
                    continue
            if answer is not None and not answer.is_server_error:
                return answer
            await asyncio.sleep(max(backoff.pause_s(), 0.0 if answer is None else _retry_after_s(answer, default=0.0)))

    def _hold(self, seconds: float) -> None:
        self._held_until = max(self._held_until, asyncio.get_running_loop().time() + seconds)

    async def _until_let(self) -> None:
        loop = asyncio.get_running_loop()
        left_s = self._held_until - loop.time()
        while left_s > 0:
            await asyncio.sleep(left_s)
            left_s = self._held_until - loop.time()


def _retry_after_s(answer: httpx.Response, *, default: float = 1.0) -> float:
    told = answer.headers.get("Retry-After", "")
    return float(told) if told.isascii() and told.isdigit() else default


def _refusal(answer: httpx.Response) -> str:
    try:
        detail = msgspec.json.decode(answer.content, type=Problem).detail
    except msgspec.DecodeError:
        detail = ""
    return f"{answer.status_code} {detail or answer.reason_phrase}"
