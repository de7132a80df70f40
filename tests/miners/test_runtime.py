"""The process's registry and its background thread."""

import threading

import pytest
from django.db import OperationalError
from django.db import connections as databases

from miners.models import MinerStatus
from miners.registry import runtime
from miners.registry.records import Report
from miners.registry.store import Registry
from poolhub.common import clock
from tests.miners.builders import register

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def background(monkeypatch):
    made = runtime.Background()
    monkeypatch.setattr(runtime, "_background", made)
    yield made
    made.stop()


def test_the_registry_is_loaded_once_by_whoever_comes_first(background) -> None:
    register()
    runtime.reset()
    assert runtime.loaded() is None
    barrier, found = threading.Barrier(4), []

    def ask() -> None:
        barrier.wait()
        try:
            found.append(runtime.get_registry())
        finally:
            databases.close_all()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in found}) == 1
    assert len(found[0]) == 1
    assert runtime.loaded() is found[0]


def test_what_is_reported_is_written_without_being_asked(background) -> None:
    register()
    runtime.reset()
    at = clock.now()
    runtime.get_registry().report("m1", Report(at=at, queue_len=5))
    written = threading.Event()
    runtime.every(0.01, lambda: MinerStatus.objects.get().queue_len == 5 and written.set(), "look")
    assert written.wait(10)


def test_a_job_runs_soon_though_it_is_not_due(background) -> None:
    ran = threading.Semaphore(0)
    background.every(3600, ran.release, "job")
    background.start()
    for _ in range(3):
        background.soon("job")
        assert ran.acquire(timeout=10)
    background.soon("no such job")
    assert not ran.acquire(blocking=False)


def test_a_job_that_is_wanted_again_while_it_runs_runs_again(background) -> None:
    ran = threading.Semaphore(0)
    wanted = iter([True, True, False])

    def job() -> None:
        if next(wanted):
            background.soon("job")
        ran.release()

    background.every(3600, job, "job")
    background.start()
    background.soon("job")
    for _ in range(3):
        assert ran.acquire(timeout=10)


def test_stop_runs_every_job_a_last_time(background) -> None:
    register()
    runtime.reset()
    seen = []
    runtime.every(3600, lambda: seen.append("job"), "job")
    runtime.get_registry().report("m1", Report(at=clock.now(), queue_len=7))
    runtime.stop()
    runtime.stop()
    assert seen == ["job"]
    assert MinerStatus.objects.get().queue_len == 7


def test_a_job_that_fails_is_told_once_and_tried_again(background, caplog) -> None:
    outcomes = iter([ValueError("one"), ValueError("two"), None])

    def job() -> None:
        if (outcome := next(outcomes)) is not None:
            raise outcome

    background.every(3600, job, "flaky")
    for _ in range(3):
        background.run_all()
    assert [record.getMessage() for record in caplog.records] == [
        "background job flaky failed; it is tried again every 3600 s", "background job flaky works again",
    ]  # fmt: skip


def test_a_second_job_of_a_name_takes_its_place(background) -> None:
    seen = []
    background.every(3600, lambda: seen.append("old"), "job")
    background.every(3600, lambda: seen.append("new"), "job")
    background.run_all()
    assert seen == ["new"]


def test_a_forked_child_starts_without_a_registry_and_with_every_job(background, monkeypatch) -> None:
    seen = []
    runtime.every(3600, lambda: seen.append("job"), "job")
    held = runtime.loaded()
    for name in ("_lock", "_registry", "_write_behind", "_background"):
        monkeypatch.setattr(runtime, name, getattr(runtime, name))
    runtime._after_fork()
    assert (held is not None, runtime.loaded()) == (True, None)
    runtime._background.run_all()
    assert seen == ["job"]


def test_one_process_does_not_lag() -> None:
    assert runtime.lag_ms() == 0.0


def test_where_something_cannot_be_attached_the_next_caller_begins_anew(background, monkeypatch) -> None:
    """As where the database goes away between the miners and the reservations."""
    tries = []

    def attach(registry: Registry) -> None:
        tries.append(registry)
        if len(tries) == 1:
            raise OperationalError

    monkeypatch.setattr(runtime, "_attached", {"one": attach})
    runtime.reset()
    with pytest.raises(OperationalError):
        runtime.get_registry()
    assert runtime.loaded() is None
    assert runtime.get_registry() is tries[1]
    assert background._thread is not None
