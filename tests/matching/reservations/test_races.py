"""Real races: N threads at once through the services, and an exact count."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from django.db import connection

from matching.serializers import MatchAnswer, MatchRequest
from matching.services import match_find, reservation_release
from tests.matching.builders import add, own, report, reservations, tell

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = 8
SLOTS = {"a": 7, "b": 1, "c": 30, "d": 4}
BUSY = {"a": 2, "b": 0, "c": 10, "d": 4}  # of these so many are taken already
ROOM = {miner_id: slots - BUSY[miner_id] for miner_id, slots in SLOTS.items() if slots > BUSY[miner_id]}


@pytest.fixture(autouse=True)
def pool(registry) -> None:
    for miner_id, slots in SLOTS.items():
        add(miner_id, max_parallel=slots, price=0)
        report(miner_id, queue_len=BUSY[miner_id])


def at_once(work: Callable[[int], Any]) -> list[Any]:
    barrier = threading.Barrier(AT_ONCE)

    def one(worker: int) -> Any:
        barrier.wait()
        try:
            return work(worker)
        finally:
            connection.close()  # the thread's own

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(one, range(AT_ONCE)))


def find(job_id: str, **body: Any) -> MatchAnswer:
    return match_find(request=MatchRequest(job_id=job_id, **body))


@pytest.mark.parametrize("top_k", [1, 4])
def test_no_more_is_reserved_than_there_is(top_k) -> None:
    def work(worker: int) -> list[MatchAnswer]:
        return [find(f"j{worker}-{i}", reserve=True, top_k=top_k) for i in range(20)]

    answers = [each for found in at_once(work) for each in found]
    given = [each for each in answers if each.candidates]
    assert Counter(each.reservation.miner_id for each in given) == ROOM
    assert len(answers) - len(given) == 8 * 20 - sum(ROOM.values())
    assert Counter(each.miner_id for each in reservations()) == ROOM
    assert {miner_id: own(miner_id) for miner_id in ROOM} == ROOM


def test_no_more_is_held_than_there_is() -> None:
    def work(worker: int) -> list[MatchAnswer]:
        return [find(f"j{worker}-{i}") for i in range(20)]

    firsts = [each.candidates[0].miner_id for found in at_once(work) for each in found if each.candidates]
    assert Counter(firsts) == ROOM
    assert {miner_id: own(miner_id) for miner_id in ROOM} == ROOM


def test_holds_and_reservations_together_take_no_more_than_there_is() -> None:
    def work(worker: int) -> list[MatchAnswer]:
        return [find(f"j{worker}-{i}", reserve=bool((worker + i) % 2)) for i in range(20)]

    firsts = [each.candidates[0].miner_id for found in at_once(work) for each in found if each.candidates]
    assert Counter(firsts) == ROOM


def test_one_job_asked_by_many_has_one_reservation() -> None:
    answers = at_once(lambda worker: [find(f"j{i}", reserve=True) for i in range(10)])
    for i in range(10):
        assert len({found[i].reservation.id for found in answers}) == 1
    assert len(reservations()) == sum(map(own, ROOM)) == 10


def test_taking_and_giving_back_for_long_ends_where_it_began() -> None:
    most, serial = Counter(), count()

    def work(worker: int) -> int:
        given = 0
        for _ in range(100):
            job_id = f"j{next(serial)}"
            answer = find(job_id, reserve=bool(worker % 2))
            if not answer.candidates:
                continue
            given += 1
            miner_id = answer.candidates[0].miner_id
            most[miner_id] = max(most[miner_id], own(miner_id))
            if worker % 2:
                reservation_release(reservation_id=answer.reservation.id)
            else:
                tell(job_id, miner_id, "accepted")
                tell(job_id, miner_id, "completed")
        return given

    assert sum(at_once(work)) == 8 * 100  # 8 at most at once, of 26 slots
    assert reservations() == []
    assert {miner_id: own(miner_id) for miner_id in SLOTS} == dict.fromkeys(SLOTS, 0)
    assert all(most[miner_id] <= ROOM[miner_id] for miner_id in most)
