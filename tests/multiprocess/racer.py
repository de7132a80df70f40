"""One process of a race for slots: ``python -m tests.multiprocess.racer CONFIG``, where CONFIG is a Race in JSON.

Says "ready", waits for a line, races, and says in JSON how it went. What it held, and when for certain, goes to a file:
from after the answer that gave it until before the call that ends it, or until its time is over counted from before the
call that began it.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Protocol

import django
from msgspec import Struct
from msgspec.json import decode
from redis import Redis

from tests import settings as hub_settings  # sets the environment that Django reads

CLOCK_STEP_NS = 1_000_000  # the server's clock and this one may drift apart by so much while a reservation lives
OFTEN_ASKED_AGAIN = 0.1
OFTEN_LEFT_TO_RUN_OUT = 0.02


class Race(Struct):
    kind: str  # one of KINDS
    redis_url: str
    file: str
    name: str
    seed: int
    attempts: int
    slots: dict[str, int]  # by miner
    ttl_ms: int
    at_once: int  # reservations that this process holds at most


class Went(Struct):
    granted: int = 0
    full: int = 0
    unavailable: int = 0
    seconds: float = 0.0


class Unanswered(Exception):
    """503."""


class Taken(Protocol):
    id: str
    miner_id: str


class Desk(Protocol):
    """Where a racer asks."""

    def take(self, job_id: str, order: Sequence[str], ttl_ms: int) -> Taken | None: ...
    def release(self, reservation_id: str) -> None: ...


def run(race: Race, desk: Desk) -> Went:
    random, went = Random(race.seed), Went()
    held: list[tuple[str, Taken, int, int]] = []  # job, what it got, since when, until when at most
    began = time.monotonic()
    with Path(race.file).open("w") as log:

        def write(taken: Taken, begin: int, end: int) -> None:
            log.write(f"{taken.miner_id} {begin} {end}\n")

        for number in range(race.attempts):
            job_id = f"{race.name}-{number}"
            order = random.sample(sorted(race.slots), len(race.slots))
            asked = time.monotonic_ns()
            try:
                taken = desk.take(job_id, order, race.ttl_ms)
            except Unanswered:
                went.unavailable += 1
                time.sleep(0.005)
                continue
            given = time.monotonic_ns()
            if taken is None:
                went.full += 1
            else:
                went.granted += 1
                over = asked + race.ttl_ms * 1_000_000 - CLOCK_STEP_NS
                if random.random() < OFTEN_LEFT_TO_RUN_OUT:
                    write(taken, given, over)
                else:
                    held.append((job_id, taken, given, over))
            if held and random.random() < OFTEN_ASKED_AGAIN:
                ask_again(desk, race, *random.choice(held))
            if len(held) > race.at_once or (held and taken is None):
                _, taken, given, over = held.pop(random.randrange(len(held)))
                write(taken, given, min(time.monotonic_ns(), over))
                try:
                    desk.release(taken.id)
                except Unanswered:
                    went.unavailable += 1
        for _, taken, given, over in held:
            write(taken, given, over)
    went.seconds = time.monotonic() - began
    return went


def ask_again(desk: Desk, race: Race, job_id: str, taken: Taken, _given: int, over: int) -> None:
    """The job has its reservation still, unless its time is over."""
    try:
        again = desk.take(job_id, sorted(race.slots), race.ttl_ms)
    except Unanswered:
        return
    if time.monotonic_ns() < over:
        assert again is not None
        assert again.id == taken.id


# ---- where to ask


def in_store(race: Race) -> Desk:
    """The store in Redis alone."""
    from matching.reservations.base import Place
    from matching.reservations.redis import RedisStore

    store = RedisStore(Redis.from_url(race.redis_url), copy=tuple)
    store.fill()

    class Store:
        def take(self, job_id: str, order: Sequence[str], ttl_ms: int) -> Taken | None:
            places = [Place(each, race.slots[each]) for each in order]
            return store.take(job_id=job_id, places=places, ttl_ms=ttl_ms, now=0)

        def release(self, reservation_id: str) -> None:
            store.release(reservation_id, now=0)

    return Store()


def in_hub(race: Race) -> Desk:
    """What the views call, with the database's copy: this process is a hub's, with miners that it knows by itself."""
    from matching.reservations import redis as store
    from matching.serializers import MatchRequest, Requirements
    from matching.services import match_find, reservation_release
    from miners.registry import runtime
    from poolhub.common.errors import Unavailable
    from tests.miners.registry.builders import row

    store.REST_S = 0.05  # the race is not for being refused
    registry, now = runtime.get_registry(), time.time()
    for miner_id, slots in race.slots.items():
        registry.upsert(row(miner_id, max_parallel=slots), now=now, last_seen=now)

    class Hub:
        def take(self, job_id: str, order: Sequence[str], ttl_ms: int) -> Taken | None:
            wanted = Requirements(exclude_miners=list(order[: len(order) // 2]))
            request = MatchRequest(
                job_id=job_id, top_k=50, reserve=True, reservation_ttl_ms=ttl_ms, requirements=wanted
            )
            try:
                answer = match_find(request=request)
            except Unavailable:
                raise Unanswered from None
            return answer.reservation or None

        def release(self, reservation_id: str) -> None:
            try:
                reservation_release(reservation_id=reservation_id)
            except Unavailable:
                raise Unanswered from None

    return Hub()


def in_hub_with_holds(race: Race) -> Desk:
    """What the views call, for jobs that reserve nothing: each answer holds a slot of its first candidate."""
    from django.conf import settings

    from matching.reservations.holds import Outcome
    from matching.reservations.runtime import get_ledger
    from matching.serializers import MatchRequest, Requirements
    from matching.services import match_find
    from miners.registry import runtime
    from poolhub.common import clock
    from tests.miners.registry.builders import row

    settings.SOFT_HOLD_MS = race.ttl_ms
    registry, now = runtime.get_registry(), time.time()
    for miner_id, slots in race.slots.items():
        registry.upsert(row(miner_id, max_parallel=slots), now=now, last_seen=now)
    given: dict[str, Given] = {}

    class Holds:
        def take(self, job_id: str, order: Sequence[str], ttl_ms: int) -> Taken | None:
            if job_id in given:  # asked again, a hold may move
                return given[job_id]
            wanted = Requirements(exclude_miners=list(order[: len(order) // 2]))
            found = match_find(request=MatchRequest(job_id=job_id, top_k=50, requirements=wanted)).candidates
            if not found:
                return None
            given[job_id] = Given(job_id, found[0].miner_id)
            return given[job_id]

        def release(self, reservation_id: str) -> None:
            get_ledger().settle(reservation_id, given[reservation_id].miner_id, Outcome.FAILED, now=clock.now())

    return Holds()


class CheckThenAct:
    """How not to do it: look whether there is room, then take it. The control, which must be caught."""

    def __init__(self, race: Race) -> None:
        self.race = race
        self.redis = Redis.from_url(race.redis_url)
        self.miners: dict[str, str] = {}

    def take(self, job_id: str, order: Sequence[str], ttl_ms: int) -> Taken | None:
        if job_id in self.miners:
            return Given(job_id, self.miners[job_id])
        for miner_id in order:
            now = time.time()
            if self.redis.zcount(miner_id, now, "+inf") < self.race.slots[miner_id]:
                self.redis.zadd(miner_id, {job_id: now + ttl_ms / 1000})
                self.miners[job_id] = miner_id
                return Given(job_id, miner_id)
        return None

    def release(self, reservation_id: str) -> None:
        self.redis.zrem(self.miners[reservation_id], reservation_id)


class Given(Struct):
    id: str
    miner_id: str


KINDS: dict[str, Callable[[Race], Desk]] = {
    "store": in_store,
    "hub": in_hub,
    "holds": in_hub_with_holds,
    "check-then-act": CheckThenAct,
}


def main(config: str) -> None:
    race = decode(config, type=Race)
    assert hub_settings.SECRET_KEY
    django.setup()
    desk = KINDS[race.kind](race)
    print("ready", flush=True)  # noqa: T201 - the protocol
    sys.stdin.readline()
    went = run(race, desk)
    print(json.dumps({name: getattr(went, name) for name in went.__struct_fields__}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
