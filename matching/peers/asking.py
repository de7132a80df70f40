"""Questions to peer hubs: all of them at once, within one deadline.

Promises. Nobody waits longer than the deadline, whatever a peer does. A peer that failed is left alone, each time for
longer, and then asked by one caller until it answers again. A redirect is not followed, and no more of an answer is
read than MAX_ANSWER_BYTES. An address that is not public is not connected to unless PEER_HUBS or OUTBOUND_ALLOW names
it as an address: no name leads there. Each process learns by itself which peers answer.
"""

import asyncio
import atexit
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal

import httpx
from django.conf import settings
from msgspec import UNSET, Raw, Struct, UnsetType

from matching.serializers import MatchAnswer, MatchRequest
from poolhub.common import codec
from poolhub.common.breaker import Breaker
from poolhub.common.errors import HubError
from poolhub.common.metrics import PEER_LATENCY, PEER_REQUESTS
from poolhub.common.outbound import AsyncTransport

logger = logging.getLogger(__name__)

HOPS = "X-Pool-Hub-Hops"  # on a question from hub to hub, which is asked no further
ROUTE = "/v1/match/batch"
REST_S, MAX_REST_S = 1.0, 60.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024
SPARE_S = 1.0  # for the loop's thread to say that the deadline has passed, on a machine with much to do
CLIENT_LIMIT_S = 30.0  # of a single read; the deadline is shorter

PLAIN = {"Content-Type": "application/json", "Accept-Encoding": "identity"}  # a small answer stays small

Outcome = Literal["ok", "late", "failed", "refused", "resting"]


class BatchOf(Struct):
    results: list[Raw]


class Kind(Struct):
    """A match has candidates, a problem has none."""

    candidates: Raw | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Reply:
    outcome: Outcome
    took_ms: float
    answers: Sequence[MatchAnswer | None] = ()  # one a question; None where the peer refused it


@dataclass(slots=True)
class Peer:
    name: str
    url: str
    breaker: Breaker = field(default_factory=lambda: Breaker(rest_s=REST_S, max_rest_s=MAX_REST_S))
    last: Outcome | None = None


class Refused(Exception):
    """The peer answered, and not with matches."""


class Peers:
    """The peer hubs of this process, asked on an event loop of its own."""

    def __init__(self, hubs: Mapping[str, str], *, secret: str) -> None:
        self.all = [Peer(name, url) for name, url in hubs.items()]
        self._headers = {"X-Coordinator-Secret": secret, HOPS: "1", **PLAIN}
        self._loop = asyncio.new_event_loop()
        self._client: httpx.AsyncClient | None = None
        self._thread = threading.Thread(target=self._run, name="hub-peers", daemon=True)
        self._thread.start()

    def ask(self, requests: Sequence[MatchRequest], *, deadline_s: float) -> dict[str, Reply]:
        """Every peer, all requests; a reply of each peer."""
        sent = codec.encode({"requests": requests})
        asked = [peer for peer in self.all if peer.breaker.allows()]
        resting = {peer.name: Reply("resting", 0.0) for peer in self.all if peer not in asked}
        for name in resting:
            PEER_REQUESTS.labels(peer=name, outcome="resting").inc()
        if not asked:
            return resting
        work = asyncio.run_coroutine_threadsafe(self._all(asked, sent, len(requests), deadline_s), self._loop)
        try:
            found = work.result(deadline_s + SPARE_S)
        except TimeoutError:
            work.cancel()
            found = {peer.name: Reply("late", deadline_s * 1000) for peer in asked}
        return {peer.name: found.get(peer.name) or resting[peer.name] for peer in self.all}

    def close(self) -> None:
        """End the loop, with the connections that are kept."""

        async def end() -> None:
            if self._client is not None:
                await self._client.aclose()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    async def _all(self, peers: Sequence[Peer], sent: bytes, count: int, deadline_s: float) -> dict[str, Reply]:
        replies = await asyncio.gather(*(self._one(peer, sent, count, deadline_s) for peer in peers))
        return {peer.name: reply for peer, reply in zip(peers, replies, strict=True)}

    async def _one(self, peer: Peer, sent: bytes, count: int, deadline_s: float) -> Reply:
        started, why = time.perf_counter(), ""
        answers: Sequence[MatchAnswer | None] = ()
        outcome: Outcome
        try:
            async with asyncio.timeout(deadline_s):
                answers, outcome = _read(await self._post(peer, sent), count), "ok"
        except TimeoutError:
            outcome, why = "late", f"no answer within {deadline_s * 1000:.0f} ms"
        except Refused as error:
            outcome, why = "refused", str(error)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            outcome, why = "failed", f"{type(error).__name__}: {error}"
        took_ms = (time.perf_counter() - started) * 1000
        self._learn(peer, outcome, why)
        PEER_REQUESTS.labels(peer=peer.name, outcome=outcome).inc()
        PEER_LATENCY.labels(peer=peer.name).observe(took_ms)
        return Reply(outcome, round(took_ms, 3), answers)

    def _addresses(self) -> set[str]:
        """Those that PEER_HUBS itself names, in their usual spelling."""
        found = set()
        for peer in self.all:
            host = httpx.URL(peer.url).host
            with suppress(ValueError):  # a name
                ip_address(host)
                found.add(host)
        return found

    async def _post(self, peer: Peer, sent: bytes) -> bytes:
        if self._client is None:  # here, for it belongs to this loop
            self._client = httpx.AsyncClient(
                timeout=CLIENT_LIMIT_S,
                follow_redirects=False,
                trust_env=False,
                transport=AsyncTransport(connections=100, named=self._addresses()),
            )
        read = bytearray()
        async with self._client.stream("POST", peer.url + ROUTE, content=sent, headers=self._headers) as response:
            if response.status_code != httpx.codes.OK:
                raise Refused(f"it answered {response.status_code}")
            async for chunk in response.aiter_raw():
                read += chunk
                if len(read) > MAX_ANSWER_BYTES:
                    raise Refused("its answer is too long")
        return bytes(read)

    def _learn(self, peer: Peer, outcome: Outcome, why: str) -> None:
        peer.last = outcome
        if outcome == "ok":
            if peer.breaker.worked():
                logger.warning("peer hub %s answers again", peer.name)
        elif peer.breaker.failed():
            logger.warning("peer hub %s is left alone for a while: %s", peer.name, why)


def _read(content: bytes, count: int) -> list[MatchAnswer | None]:
    try:
        results = codec.decode(content, BatchOf).results
        if len(results) != count:
            raise Refused(f"it answered {len(results)} of {count} matches")
        return [_answer(bytes(each)) for each in results]
    except HubError as error:
        raise Refused(f"its answer cannot be read: {error}") from error


def _answer(result: bytes) -> MatchAnswer | None:
    """None for a problem."""
    if codec.decode(result, Kind).candidates is UNSET:
        return None
    answer = codec.decode(result, MatchAnswer)
    if not all(0 <= each.score <= 1 for each in answer.candidates):
        raise Refused("a score of its answer is not from 0 to 1")
    return answer


_lock = threading.Lock()
_peers: Peers | None = None


def peers() -> Peers | None:
    """Those of PEER_HUBS; None where it names none."""
    global _peers
    if not settings.PEER_HUBS:
        return None
    if _peers is None:
        with _lock:
            if _peers is None:
                _peers = Peers(settings.PEER_HUBS, secret=settings.PEER_SECRET[0])
                atexit.register(_peers.close)
    return _peers


def known() -> Sequence[Peer]:
    """As far as this process has asked them."""
    return _peers.all if _peers is not None else ()


def _after_fork() -> None:
    global _lock, _peers
    _lock, _peers = threading.Lock(), None


os.register_at_fork(after_in_child=_after_fork)
