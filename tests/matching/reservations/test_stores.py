"""What every ReservationStore guarantees. A new store is one more line in STORES."""

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

import pytest
from django.conf import settings

from matching.reservations.base import Place, Reservation, ReservationStore
from matching.reservations.memory import MemoryStore
from tests.matching.reservations.stores import redis_store

NOW = 1_800_000_000.0
AT_ONCE, JOBS = 8, 400

Make = Callable[..., AbstractContextManager[ReservationStore]]

STORES: dict[str, Make] = {"memory": lambda held=(): nullcontext(MemoryStore(held))}  # makes one that was filled so
if settings.REDIS_URL:
    STORES["redis"] = lambda held=(): redis_store(copy=lambda: held, server_time=False)


@pytest.fixture(params=STORES)
def make(request) -> Make:
    return STORES[request.param]


@pytest.fixture
def store(make) -> Iterator[ReservationStore]:
    with make() as made:
        yield made


def take(store: ReservationStore, job_id: str = "j1", /, *, ttl_ms: int = 1000, now: float = NOW, **limits: int):
    places = [Place(miner_id, limit) for miner_id, limit in (limits or {"m1": 1}).items()]
    return store.take(job_id=job_id, places=places, ttl_ms=ttl_ms, now=now)


def jobs(store: ReservationStore, now: float = NOW) -> list[str]:
    counted = store.count(now=now)
    found = [each.job_id for each in store.live(now=now)]
    assert counted == len(found)
    return found


class TestReservationStore:
    def test_a_reservation_says_what_was_asked(self, store) -> None:
        found = take(store, "j1", ttl_ms=1500, m1=1)
        assert found == Reservation(found.id, "j1", "m1", 1500, NOW + 1.5)
        assert str(uuid.UUID(found.id)) == found.id

    def test_it_takes_the_first_place_that_has_room(self, store) -> None:
        assert [take(store, f"j{i}", a=1, b=2, c=1).miner_id for i in range(4)] == ["a", "b", "b", "c"]
        assert take(store, "j4", a=1, b=2, c=1) is None

    def test_a_limit_of_nothing_gives_nothing(self, store) -> None:
        assert take(store, a=0) is None
        assert store.take(job_id="j1", places=[], ttl_ms=1000, now=NOW) is None

    def test_the_limit_is_the_callers_and_may_change(self, store) -> None:
        take(store, "j1", a=1)
        assert take(store, "j2", a=1) is None
        assert take(store, "j3", a=2).miner_id == "a"
        assert take(store, "j4", a=1) is None

    def test_a_job_has_one_and_gets_it_again_whatever_it_asks(self, store) -> None:
        first = take(store, "j1", a=1)
        assert take(store, "j1", b=5, ttl_ms=9000, now=NOW + 0.5) == first
        assert store.take(job_id="j1", places=[], ttl_ms=1000, now=NOW) == first
        assert jobs(store) == ["j1"]

    def test_ids_are_never_given_twice(self, store) -> None:
        ids = [take(store, f"j{i}", a=100).id for i in range(50)]
        for each in ids:
            store.release(each, now=NOW)
        assert len({*ids, *(take(store, f"j{i}", a=100).id for i in range(50))}) == 100

    def test_it_ends_at_its_time_and_not_before(self, store) -> None:
        first = take(store, "j1")
        assert take(store, "j2", now=NOW + 0.999) is None
        assert store.of_job("j1", now=NOW + 0.999) == first
        assert store.of_job("j1", now=NOW + 1) is None
        assert take(store, "j2", now=NOW + 1).miner_id == "m1"

    def test_what_ran_out_is_gone_for_everyone(self, store) -> None:
        first = take(store, "j1")
        assert store.live(now=NOW + 1) == []
        assert store.renew(first.id, ttl_ms=1000, now=NOW + 1) is None
        assert store.release(first.id, now=NOW + 1) is None

    def test_a_job_whose_time_ran_out_gets_a_new_one(self, store) -> None:
        assert take(store, "j1").id != take(store, "j1", now=NOW + 1).id
        assert jobs(store, NOW + 1) == ["j1"]

    def test_release_returns_what_it_ended_and_frees_the_place(self, store) -> None:
        first = take(store, "j1")
        assert store.release(first.id, now=NOW) == first
        assert (store.of_job("j1", now=NOW), jobs(store)) == (None, [])
        assert take(store, "j2").miner_id == "m1"

    def test_release_is_idempotent(self, store) -> None:
        first = take(store, "j1")
        store.release(first.id, now=NOW)
        again = take(store, "j1")
        assert store.release(first.id, now=NOW) is None
        assert store.release("nothing", now=NOW) is None
        assert store.of_job("j1", now=NOW) == again

    def test_renew_counts_from_now(self, store) -> None:
        first = take(store, "j1")
        renewed = store.renew(first.id, ttl_ms=5000, now=NOW + 0.5)
        assert renewed == Reservation(first.id, "j1", "m1", 1000, NOW + 5.5)
        assert store.of_job("j1", now=NOW + 5.4) == renewed
        assert take(store, "j2", now=NOW + 5.4) is None
        assert take(store, "j2", now=NOW + 5.5).miner_id == "m1"

    def test_renew_without_a_time_is_as_long_as_asked_at_first(self, store) -> None:
        first = take(store, "j1", ttl_ms=2000)
        store.renew(first.id, ttl_ms=60_000, now=NOW)
        assert store.renew(first.id, ttl_ms=None, now=NOW + 1).expires_at == NOW + 3

    def test_renew_may_shorten(self, store) -> None:
        first = take(store, "j1", ttl_ms=60_000)
        store.renew(first.id, ttl_ms=1000, now=NOW)
        assert store.of_job("j1", now=NOW + 1) is None

    def test_renew_of_nothing_is_nothing(self, store) -> None:
        assert store.renew("nothing", ttl_ms=1000, now=NOW) is None

    def test_the_live_ones_are_listed_by_their_end(self, store) -> None:
        for job_id, ttl_ms in (("late", 9000), ("soon", 1000), ("later", 5000)):
            take(store, job_id, ttl_ms=ttl_ms, a=3)
        assert jobs(store) == ["soon", "later", "late"]
        assert jobs(store, NOW + 1) == ["later", "late"]

    def test_miners_and_jobs_do_not_mix(self, store) -> None:
        take(store, "x", x=1)
        assert take(store, "m", m=1).miner_id == "m"
        assert store.of_job("m", now=NOW).miner_id == "m"
        assert store.of_job("y", now=NOW) is None

    @pytest.mark.parametrize("job_id", ["", " ", "é😀\u2028", "a:b{c}*?", "x" * 128, "\n"])
    def test_any_text_is_a_job(self, store, job_id) -> None:
        first = take(store, job_id)
        assert store.of_job(job_id, now=NOW) == first
        assert jobs(store) == [job_id]

    def test_what_it_was_filled_with_counts(self, make) -> None:
        held = [
            Reservation(str(uuid.UUID(int=1)), "j1", "a", 1000, NOW + 5),
            Reservation(str(uuid.UUID(int=2)), "j2", "a", 2000, NOW + 3),
        ]
        with make(held) as store:
            assert store.live(now=NOW) == held[::-1]
            assert take(store, "j1", b=1) == held[0]
            assert take(store, "j3", a=2) is None
            assert take(store, "j3", a=2, now=NOW + 3).miner_id == "a"
            assert store.renew(held[0].id, ttl_ms=None, now=NOW + 3).expires_at == NOW + 4

    def test_of_two_for_one_job_that_it_was_filled_with_the_later_stays(self, make) -> None:
        early, late = (Reservation(str(uuid.UUID(int=i)), "j1", "a", 1000, NOW + i) for i in (1, 2))
        for held in ([early, late], [late, early]):
            with make(held) as store:
                assert store.live(now=NOW) == [late]
                assert take(store, "j2", a=2).miner_id == "a"

    def test_many_at_once_get_exactly_what_there_is(self, store) -> None:
        """AT_ONCE callers, 400 jobs for 60 places on two miners; every job is asked for twice."""
        barrier = threading.Barrier(AT_ONCE)

        def work(worker: int) -> list[Reservation | None]:
            barrier.wait()
            mine = range(worker // 2, JOBS, AT_ONCE // 2)
            return [take(store, f"j{i}", a=20, b=40, ttl_ms=600_000) for i in mine]

        with ThreadPoolExecutor(AT_ONCE) as pool:
            given = [each for found in pool.map(work, range(AT_ONCE)) for each in found if each]
        assert Counter(each.miner_id for each in set(given)) == {"a": 20, "b": 40}
        assert len({each.job_id for each in given}) == len(set(given)) == 60
        assert len(given) == 120
        assert sorted(jobs(store)) == sorted({each.job_id for each in given})
