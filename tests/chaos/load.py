"""The client: miners on sockets, coordinators, operators and a receiver of settlements, at a steady rate.

All of it goes through nginx, as in production, and into the journal. Only /v1/health is asked of each part directly.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from poolhub.common import clock
from tests.chaos.hub import OPERATOR, PASSWORD
from tests.chaos.journal import (
    DISABLED,
    DRAINED,
    LOGGED_OUT,
    Answer,
    AskedAgain,
    CameBack,
    Commanded,
    Journal,
    Left,
    Matched,
    Offered,
    Overridden,
    Registered,
    Taken,
    Told,
)
from tests.chaos.watching import Watcher
from tests.multiprocess.cluster import RunningCluster

TIMEOUT_S = 5.0
BEAT_S = 1.0
WIDE, TIGHT, CHURN = "wide", "tight", "churn"
MINERS = {WIDE: (24, 4), TIGHT: (4, 2)}  # how many, with how many slots: in `wide` there is always room
JOBS_PER_S = {WIDE: 5.0, TIGHT: 3.0}
CHURN_S, LOOK_S, COMMAND_S = 1.0, 0.25, 1.0
GIVEN_UP_S = 60.0
TICK_S, STALL_S = 0.05, 0.2
TTLS_MS = (20_000, 60_000)
SLACK_S = 0.05  # of a reservation's time, between this clock and the one of Redis


class Client:
    """Calls, each of which the journal gets."""

    def __init__(self, hub: RunningCluster, journal: Journal, seed: int) -> None:
        self.hub, self.journal, self.random = hub, journal, random.Random(seed)
        limits = httpx.Limits(max_connections=300, max_keepalive_connections=50)
        self.http = httpx.AsyncClient(base_url=hub.front, timeout=TIMEOUT_S, limits=limits)
        self._may_ask = asyncio.Event()
        self._may_ask.set()
        self._under_way = 0

    async def call(
        self, kind: str, method: str, path: str, **options: Any
    ) -> tuple[httpx.Response | None, float, float]:
        """The answer, if there was one, and when it was asked for and had."""
        await self._may_ask.wait()
        self._under_way += 1
        asked = time.monotonic()
        answer = None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self.http.request(method, path, **options)
            status = str(answer.status_code)
        except (httpx.TimeoutException, TimeoutError):
            status = "no answer"
        except httpx.HTTPError:
            status = "reset"
        finally:
            self._under_way -= 1
        at = time.monotonic()
        self.journal.answers.append(Answer(kind, asked, at, status))
        return answer, asked, at

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Nothing is asked within the block, and nothing is under way; sockets and heartbeats go on."""
        self._may_ask.clear()
        try:
            while self._under_way:  # noqa: ASYNC110 - to look now and then is enough
                await asyncio.sleep(0.05)
            yield
        finally:
            self._may_ask.set()


class Load:
    def __init__(self, hub: RunningCluster, journal: Journal, seed: int) -> None:
        self.client = Client(hub, journal, seed)
        self.hub, self.journal, self.random = hub, journal, self.client.random
        self.connected: set[str] = set()
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._csrf = ""
        self._watcher: Watcher | None = None
        self._mistake: BaseException | None = None

    async def begin(self) -> None:
        await self._log_in()
        for region, (count, slots) in MINERS.items():
            for number in range(count):
                self._spawn(self._miner(f"{region}-{number:02}", region, slots))
        for region, per_s in JOBS_PER_S.items():
            self._spawn(self._jobs(region, per_s))
        ports = self.hub.ports
        self._watcher = Watcher(
            self.journal, {"rest": ports.rest, "socket-1": ports.sockets[0], "socket-2": ports.sockets[1]}
        )
        self._spawn(self._metronome())
        self._spawn(self._churn())
        self._spawn(self._looks())
        self._spawn(self._commands())

    async def end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._watcher is not None:
            self._watcher.close()
        await self.client.http.aclose()

    def failed(self) -> BaseException | None:
        """What ended a part of the load by mistake."""
        return self._mistake

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._mistake = task.exception()

    def _next(self, word: str) -> str:
        self._number += 1
        return f"{word}-{self._number}"

    # ---- miners

    async def _register(self, miner_id: str, region: str, slots: int) -> str | None:
        """The token, once it is acknowledged."""
        self.journal.slots[miner_id] = slots
        mark = self._next(miner_id)
        body = {
            "miner_id": miner_id, "api_key": f"key-of-{miner_id}-0123456789", "addr": "10.0.0.1:9000", "region": region,
            "max_parallel": slots, "price_token_per_ksec": 0.5, "wallet_address": mark,
        }  # fmt: skip
        self.journal.came_back.append(CameBack(miner_id, time.monotonic()))
        answer, asked, at = await self.client.call("register", "POST", "/v1/miners/register", json=body)
        if answer is None or not answer.is_success:
            return None
        self.journal.registered.append(Registered(miner_id, mark, asked, at))
        token: str = answer.json()["session_token"]
        return token

    async def _miner(self, miner_id: str, region: str, slots: int) -> None:
        token = None
        while True:
            if token is None:
                token = await self._register(miner_id, region, slots)
            if token is not None and not await self._socket(miner_id, token):
                token = None
            await asyncio.sleep(self.random.uniform(0.1, 1.0))

    async def _socket(self, miner_id: str, token: str) -> bool:
        """As long as it lasts; False where the session is over."""
        headers = {"Authorization": f"Bearer {token}"}
        url = self.hub.front.replace("http", "ws") + "/v1/miners/heartbeat"
        try:
            async with connect(url, additional_headers=headers, open_timeout=TIMEOUT_S, close_timeout=1) as socket:
                beats = asyncio.create_task(self._beats(socket))
                self.connected.add(miner_id)
                try:
                    async for message in socket:
                        told = json.loads(message)
                        if told["type"] == "command":
                            await socket.send(json.dumps({"type": "command.ack", "id": told["id"], "ok": True}))
                finally:
                    self.connected.discard(miner_id)
                    beats.cancel()
                    await asyncio.gather(beats, return_exceptions=True)
                return socket.close_code != 4401
        except (OSError, TimeoutError, WebSocketException):
            return True

    async def _beats(self, socket: Any) -> None:
        while True:
            ts = clock.to_rfc3339(time.time())
            await socket.send(json.dumps({"ts": ts, "queue_len": 0, "avg_latency_ms": 20}))
            await asyncio.sleep(BEAT_S)

    # ---- coordinators

    async def _jobs(self, region: str, per_s: float) -> None:
        while True:
            self._spawn(self._job(region))
            await asyncio.sleep(self.random.expovariate(per_s))

    async def _match(self, kind: str, region: str, job_id: str, **fields: Any) -> tuple[Any, str, float, float]:
        body = {"job_id": job_id, "hints": {"region": region}, "top_k": 10, **fields}
        answer, asked, at = await self.client.call(kind, "POST", "/v1/match", json=body, headers=self.hub.coordinator)
        if answer is None or answer.status_code != 200:
            return None, self.journal.answers[-1].status if answer is None else str(answer.status_code), asked, at
        found = answer.json()
        self.journal.offered.append(Offered(tuple(each["miner_id"] for each in found["candidates"]), asked, at))
        return found, "200", asked, at

    async def _reserve(self, region: str, job_id: str, ttl_ms: int) -> Taken | None:
        found, status, asked, at = await self._match("match", region, job_id, reserve=True, reservation_ttl_ms=ttl_ms)
        given = found and found.get("reservation")
        if region == WIDE:
            self.journal.matched.append(Matched(asked, at, bool(given), status))
        if not given:
            return None
        until = asked + ttl_ms / 1000 - SLACK_S
        self.journal.took(Taken(given["id"], job_id, given["miner_id"], asked, at, until))
        return self.journal.taken[given["id"]]

    async def _job(self, region: str) -> None:
        job_id, ttl_ms = self._next(f"job-{region}"), self.random.choice(TTLS_MS)
        taken = await self._reserve(region, job_id, ttl_ms)
        if taken is None:
            return
        await self._tell(job_id, taken.miner_id, "accepted")
        await asyncio.sleep(self.random.uniform(0.2, 5.0))
        if self.random.random() < 0.2:
            await self._ask_again(region, taken, ttl_ms)
        way = self.random.random()
        if way < 0.05:
            return  # left to run out
        self.journal.ends(taken.id, time.monotonic())
        if way < 0.12:
            await self.client.call("release", "DELETE", f"/v1/reservations/{taken.id}", headers=self.hub.coordinator)
        elif way < 0.17:
            await self._tell(job_id, taken.miner_id, "rejected")
        elif way < 0.27:
            await self._tell(job_id, taken.miner_id, "failed", fail_code=self.random.choice(["timeout", "oom"]))
        else:
            tokens = f"{self.random.randrange(1, 10**6) / 10**4:.4f}"
            await self._tell(job_id, taken.miner_id, "completed", tokens_spent=tokens, latency_ms=20)

    async def _ask_again(self, region: str, taken: Taken, ttl_ms: int) -> None:
        fields = {"reserve": True, "reservation_ttl_ms": ttl_ms}
        found, _, asked, at = await self._match("match", region, taken.job_id, **fields)
        if found is not None and at < taken.until:
            got = found.get("reservation", {}).get("id")
            self.journal.asked_again.append(AskedAgain(taken.job_id, taken.id, got, asked, at))

    async def _tell(self, job_id: str, miner_id: str, outcome: str, **fields: Any) -> None:
        """Again and again until it is acknowledged, as an honest coordinator does."""
        body = {"job_id": job_id, "miner_id": miner_id, "outcome": outcome, **fields}
        until = time.monotonic() + GIVEN_UP_S
        while time.monotonic() < until:
            answer, _, at = await self.client.call(
                "feedback", "POST", "/v1/feedback", json=body, headers=self.hub.coordinator
            )
            if answer is not None and answer.is_success:
                self.journal.told.append(Told(job_id, miner_id, outcome, fields.get("tokens_spent"), at))
                return
            await asyncio.sleep(self.random.uniform(0.3, 1.0))

    # ---- operators, and miners that come and go

    async def _log_in(self) -> None:
        http = self.client.http
        await http.get("/admin/login/")
        self._csrf = http.cookies["poolhub_csrf"]
        await self._form("/admin/login/", username=OPERATOR, password=PASSWORD)
        self._csrf = http.cookies["poolhub_csrf"]
        assert "poolhub_session" in http.cookies, "the operator could not log in"

    async def _form(self, path: str, **fields: str) -> tuple[httpx.Response | None, float, float]:
        return await self.client.call("operator", "POST", path, data={**fields, "csrfmiddlewaretoken": self._csrf})

    async def _churn(self) -> None:
        while True:
            self._spawn(self._visitor(self._next(CHURN)))
            await asyncio.sleep(CHURN_S)

    async def _visitor(self, miner_id: str) -> None:
        """A miner that registers, is given a price by operators, and leaves or is shut out, for good or for a while."""
        token = await self._register(miner_id, CHURN, 1)
        if token is None:
            return
        pk = await self._pk(miner_id)
        if pk is not None and self.random.random() < 0.5:
            await self._override(miner_id, pk)
        await asyncio.sleep(self.random.uniform(0.2, 2.0))
        way = self.random.random()
        if way < 0.4:
            await self._log_out(miner_id, token)
            if way < 0.1:
                await asyncio.sleep(self.random.uniform(1.0, 3.0))
                await self._register(miner_id, CHURN, 1)
        elif way < 0.7 and pk is not None:
            await self._disable(miner_id, pk)
            await self._register(miner_id, CHURN, 1)  # refused
        else:
            await self._drain(miner_id)

    async def _pk(self, miner_id: str) -> str | None:
        params = {"app_label": "miners", "model_name": "priceoverride", "field_name": "miner", "term": miner_id}
        answer, _, _ = await self.client.call("operator", "GET", "/admin/autocomplete/", params=params)
        if answer is None or answer.status_code != 200:
            return None
        return next((each["id"] for each in answer.json()["results"] if each["text"] == miner_id), None)

    async def _override(self, miner_id: str, pk: str) -> None:
        reason, price = self._next("override"), f"0.{self.random.randrange(10, 99)}"
        fields = dict.fromkeys(("valid_from_0", "valid_from_1", "valid_until_0", "valid_until_1", "seen"), "")
        answer, _, at = await self._form(
            "/admin/miners/priceoverride/add/", miner=pk, price=price, reason=reason, **fields
        )
        if answer is not None and answer.status_code == 302:
            self.journal.overridden.append(Overridden(miner_id, reason, price, at))

    async def _log_out(self, miner_id: str, token: str) -> None:
        bearer = {"Authorization": f"Bearer {token}"}
        answer, asked, at = await self.client.call("logout", "POST", "/v1/miners/logout", headers=bearer)
        if answer is not None and answer.status_code == 204:
            self.journal.left.append(Left(miner_id, LOGGED_OUT, asked, at))

    async def _disable(self, miner_id: str, pk: str) -> None:
        fields = {"action": "disable", "_selected_action": pk, "confirmed": "yes", "reason": "chaos"}
        answer, asked, at = await self._form("/admin/miners/miner/", **fields)
        if answer is not None and answer.status_code == 302:
            self.journal.left.append(Left(miner_id, DISABLED, asked, at))

    async def _command(self, miner_id: str, name: str, price: float | None = None) -> tuple[float, float] | None:
        body = {"name": name} if price is None else {"name": name, "args": {"price": price}}
        kind = f"cap {miner_id}" if name == "set_price_cap" else "command"
        answer, asked, at = await self.client.call(
            kind, "POST", f"/v1/miners/{miner_id}/commands", json=body, headers=self.hub.admin
        )
        if answer is None or answer.status_code != 201:
            return None
        self.journal.commanded.append(Commanded(answer.json()["id"], miner_id, name, price, asked, at))
        return asked, at

    async def _drain(self, miner_id: str) -> None:
        done = await self._command(miner_id, "drain")
        if done is not None:
            self.journal.left.append(Left(miner_id, DRAINED, *done))

    async def _commands(self) -> None:
        count, _ = MINERS[WIDE]
        while True:
            miner_id = f"{WIDE}-{self.random.randrange(count):02}"
            await self._command(miner_id, "set_price_cap", self.random.randrange(20, 90) / 100)
            await asyncio.sleep(COMMAND_S)

    # ---- onlookers

    async def _metronome(self) -> None:
        """On a machine that is busy with other things the client's own waiting would pass for the hub's."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK_S)
            late_s = time.monotonic() - before - TICK_S
            if late_s > STALL_S:
                self.journal.stalls.append((before, late_s))

    async def _looks(self) -> None:
        """Who would be offered in the region of those that come and go."""
        while True:
            self._spawn(self._look())
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        await self._match("look", CHURN, "look", dry_run=True, top_k=50)
