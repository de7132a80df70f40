"""A batch is answered as its jobs are one after another, whatever they share."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from random import Random
from typing import Any

import msgspec
import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from benchmarks.engines import rows as one_by_one
from matching import ranking
from matching.models import Reservation
from matching.reservations.holds import Outcome
from matching.reservations.memory import MemoryStore
from matching.reservations.runtime import attach_to, get_ledger
from matching.scoring import shared
from matching.serializers import MatchAnswer, MatchRequest
from matching.services import match_batch, match_find
from miners.registry import runtime
from miners.registry.store import Registry
from poolhub.common import clock, codec
from poolhub.common.clock import FakeClock
from poolhub.common.errors import HubError
from poolhub.common.fields import encode_hook
from tests.effort import effort
from tests.matching.reservations.stores import redis_store
from tests.matching.scoring import strategies as draw

pytestmark = pytest.mark.django_db

NOW = 1_800_000_000.0
JOBS = tuple(f"j{i}" for i in range(6))  # few, so that a job is often asked for again
LATER_S = 1.0  # every rank is due, so that both ways begin with the same

REQUIREMENTS = st.fixed_dictionaries(
    {},
    optional={
        "min_vram_gb": st.sampled_from((0.0, 8.0, 24.0)),
        "capabilities_any": st.lists(st.sampled_from(draw.CAPABILITIES[:3]), max_size=2),
        "accel": st.lists(st.sampled_from(draw.ACCELS), max_size=1),
        "min_trust": st.sampled_from((0.3, 0.5)),
    },
)
HINTS = st.fixed_dictionaries(
    {},
    optional={
        "region": st.sampled_from(draw.REGIONS),
        "max_price": st.sampled_from((0, 0.1, 1)),
        "deadline_ms": st.sampled_from((20.0, 40.0, 5000.0)),
        "explain": st.sampled_from(("short", "short", "full")),
        "weights": st.sampled_from(({"load": 1}, {"price": 1, "load": 5})),
    },
)
SETS = st.fixed_dictionaries(
    {"top_k": st.sampled_from((1, 2, 5, 50))}, optional={"requirements": REQUIREMENTS, "hints": HINTS}
)
WAYS = st.sampled_from(({}, {}, {}, {"reserve": True}, {"dry_run": True}, {"reserve": True, "dry_run": True}))


@st.composite
def batches(drawn: st.DrawFn) -> list[bytes]:
    """Jobs that ask for few different things; some are refused."""
    sets = drawn(st.lists(SETS, min_size=1, max_size=3))
    jobs = st.tuples(st.sampled_from(JOBS) | st.uuids().map(str), st.sampled_from(sets), WAYS)
    asked = [{"job_id": job_id, **body, **way} for job_id, body, way in drawn(st.lists(jobs, min_size=1, max_size=24))]
    for at in drawn(st.lists(st.integers(0, len(asked) - 1), max_size=2)):
        asked[at] = {**asked[at], "top_k": 99}
    return [msgspec.json.encode(each) for each in asked]


@contextmanager
def hub(seed: int, count: int, parallel: tuple[int, ...]) -> Iterator[Registry]:
    """A pool of its own, the same for the same numbers."""
    Reservation.objects.all().delete()
    random = Random(seed)
    with clock.use(FakeClock(NOW)) as fake, ExitStack() as stack:
        registry = runtime.new_registry()
        crowd = draw.crowd(seed, count, alike=False, version=1, now=NOW)
        miners = [(replace(row, max_parallel=random.choice(parallel)), live) for row, live in crowd]
        one_by_one.write(registry, miners, now=NOW)
        store = stack.enter_context(redis_store(server_time=False)) if settings.REDIS_URL else MemoryStore()
        attach_to(registry, store)
        runtime.set_registry(registry)
        fake.advance(LATER_S)
        yield registry


def singly(bodies: list[bytes]) -> list[MatchAnswer | HubError]:
    def one(body: bytes) -> MatchAnswer | HubError:
        try:
            return match_find(request=codec.decode(body, MatchRequest))
        except HubError as error:
            return error

    return [one(body) for body in bodies]


def told(answers: list[MatchAnswer | HubError]) -> list[Any]:
    """As JSON shows them, without the ids of reservations: those are drawn anew each time."""
    shown = []
    for each in answers:
        body = repr(each) if isinstance(each, HubError) else msgspec.to_builtins(each, enc_hook=encode_hook)
        if isinstance(body, dict) and "reservation" in body:
            del body["reservation"]["id"]
        shown.append(body)
    return shown


def kept(registry: Registry) -> tuple[list[int], list[tuple[str, str, float]]]:
    """Slots that are held or reserved, and for whom."""
    live = get_ledger().live(now=clock.now())
    return registry.columns.own[: registry.size].tolist(), sorted(
        (each.job_id, each.miner_id, each.expires_at) for each in live
    )


@given(
    seed=st.integers(0, 2**32),
    count=st.sampled_from((0, 3, 20, 150)),
    parallel=st.sampled_from(((1,), (1, 2), (1, 4, 100))),
    accepted=st.sampled_from(JOBS),
    batch=batches(),
    run=st.sampled_from((1, 5, 64)),
    held_s=st.sampled_from((math.inf, math.inf, 0.0)),  # 0: each run ends before its first job
    spare=st.sampled_from((0, 2, 64)),
)
@effort(150)
def test_a_batch_is_answered_as_its_jobs_one_after_another(
    seed: int,
    count: int,
    parallel: tuple[int, ...],
    accepted: str,
    batch: list[bytes],
    run: int,
    held_s: float,
    spare: int,
) -> None:
    before = [msgspec.json.encode({"job_id": job_id}) for job_id in JOBS[:3]]  # jobs that hold a slot already
    results = []
    for answer in (singly, lambda bodies: match_batch(requests=[Raw(body) for body in bodies])):
        with pytest.MonkeyPatch.context() as patch, hub(seed, count, parallel) as registry:
            patch.setattr(ranking, "RUN", run)
            patch.setattr(ranking, "HELD_S", held_s)
            patch.setattr(shared, "SPARE", spare)
            for each in singly(before):
                if isinstance(each, MatchAnswer) and each.job_id == accepted and each.candidates:
                    miner_id = each.candidates[0].miner_id
                    get_ledger().settle(accepted, miner_id, Outcome.ACCEPTED, now=clock.now())
            results.append((told(answer(batch)), kept(registry)))
    one_by_one, at_once = results
    assert at_once == one_by_one
