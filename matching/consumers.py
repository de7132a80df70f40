"""WS /v1/match/stream: matches and standing subscriptions of one coordinator.

Promises. Messages are answered in their order; one that is wrong gets an error and ends nothing. A slow reader gets the
newest state of each subscription, and nothing waits for it but that: memory is bounded by MAX_SUBSCRIPTIONS answers.
"""

import asyncio
from contextlib import suppress
from functools import partial

from channels.db import database_sync_to_async
from django.conf import settings
from structlog.contextvars import bound_contextvars

from matching.peers.spillover import match_anywhere
from matching.permissions import CoordinatorSecret
from matching.scoring.types import MatchResult
from matching.serializers import MatchAnswer, MatchRequest, StreamMessage
from matching.services import match_answer
from matching.streams.subscriptions import Subscription, Subscriptions
from poolhub.common import codec, ratelimit
from poolhub.common.auth import check_secret
from poolhub.common.errors import Conflict, Forbidden, HubError, NotConfigured, ValidationFailed
from poolhub.common.metrics import STREAM_UPDATES
from poolhub.common.network import scope_address
from poolhub.common.sockets import HubSocket, header_of

MAX_MESSAGE_BYTES = 64 * 1024
MAX_SUBSCRIPTIONS = 100

UNAUTHORIZED, FORBIDDEN, TOO_LARGE, NOT_CONFIGURED = 4401, 4403, 4413, 4503

subscriptions = Subscriptions()


class MatchStreamConsumer(HubSocket):
    def __init__(self) -> None:
        super().__init__()
        self._address = ""
        self._held: dict[str, Subscription] = {}
        self._counts: dict[str, int] = {}  # updates sent, by subscription
        self._newest: dict[str, MatchAnswer] = {}  # not sent yet
        self._news = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None

    async def connected(self) -> None:
        self._address = scope_address(self.scope)
        try:
            check_secret(
                given=header_of(self.scope, CoordinatorSecret.header.lower().encode()),
                address=lambda: self._address,
                header=CoordinatorSecret.header,
                setting_name=CoordinatorSecret.setting_name,
                allowlist_name=CoordinatorSecret.allowlist_name,
            )
        except HubError as error:
            await self.close(_code_of(error))
            return
        self._sender = self.loop.create_task(self._send_news())

    def left(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
        for held in self._held.values():
            subscriptions.drop(held)

    async def received(self, data: bytes, *, binary: bool) -> None:
        if len(data) > MAX_MESSAGE_BYTES:
            await self.close(TOO_LARGE)
            return
        message = StreamMessage()
        try:
            if binary:
                raise ValidationFailed("messages are JSON in text frames", code="binary_message")
            message = codec.decode(data, StreamMessage)
            await self._take(message, data)
        except HubError as error:
            await self._complain(message.id, error)

    async def _take(self, message: StreamMessage, data: bytes) -> None:
        if message.type not in ("match", "subscribe", "unsubscribe"):
            raise ValidationFailed("the type is match, subscribe or unsubscribe", code="unknown_type")
        if message.id is None:
            raise ValidationFailed(f"{message.type} needs an id", code="missing_id")
        if message.type == "match":
            answer = await self._match(codec.decode(data, MatchRequest))
            await self._tell("match.result", message.id, answer)
        elif message.type == "subscribe":
            self._subscribe(message.id, codec.decode(data, MatchRequest))
        else:
            self._unsubscribe(message.id)

    async def _match(self, request: MatchRequest) -> MatchAnswer:
        def find() -> MatchAnswer:
            ratelimit.check_address(self._address, group="match", rate=settings.RATELIMIT_MATCH)
            return match_anywhere(request=request, hopped=False)

        with bound_contextvars(job_id=request.job_id):
            answer: MatchAnswer = await database_sync_to_async(find, thread_sensitive=False)()
        return answer

    # ---- subscriptions

    def _subscribe(self, name: str, request: MatchRequest) -> None:
        """One of the same id takes the place of the one before."""
        if name not in self._held and len(self._held) >= MAX_SUBSCRIPTIONS:
            raise Conflict(f"a connection has {MAX_SUBSCRIPTIONS} subscriptions at most", code="too_many_subscriptions")
        self._end(name)
        self._held[name] = subscriptions.add(request, partial(self._hand_over, name, request.job_id))

    def _unsubscribe(self, name: str) -> None:
        self._end(name)
        self._counts.pop(name, None)

    def _end(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            subscriptions.drop(held)
        self._newest.pop(name, None)

    def _hand_over(self, name: str, job_id: str, source: Subscription, result: MatchResult) -> None:
        """From the thread that ranks to the socket's loop."""
        answer = match_answer(job_id, result)
        with suppress(RuntimeError):  # the loop has closed, and its sockets with it
            self.loop.call_soon_threadsafe(self._put, name, source, answer)

    def _put(self, name: str, source: Subscription, answer: MatchAnswer) -> None:
        if self._held.get(name) is source:
            self._newest[name] = answer
            self._news.set()

    async def _send_news(self) -> None:
        """Send what is newest, as fast as the reader takes it."""
        with suppress(OSError):  # the peer was quicker
            while True:
                await self._news.wait()
                while self._newest:
                    name = next(iter(self._newest))
                    answer = self._newest.pop(name)
                    self._counts[name] = number = self._counts.get(name, -1) + 1
                    await self._tell("match.update", name, answer, seq=number)
                self._news.clear()

    # ---- frames

    async def _tell(self, kind: str, name: str, answer: MatchAnswer, **more: object) -> None:
        head = codec.encode({"type": kind, "id": name, **more})
        STREAM_UPDATES.labels(type=kind).inc()
        await self.tell(head[:-1] + b"," + codec.encode(answer)[1:])

    async def _complain(self, name: str | None, error: HubError) -> None:
        errors = [{"field": each.field, "code": each.code, "detail": each.detail} for each in error.errors]
        told = {"type": "error", "id": name, "code": error.code, "detail": error.detail}
        await self.tell(codec.encode({**told, "errors": errors} if errors else told))


def _code_of(error: HubError) -> int:
    if isinstance(error, NotConfigured):
        return NOT_CONFIGURED
    return FORBIDDEN if isinstance(error, Forbidden) else UNAUTHORIZED
