"""The files through which processes count together."""

import os
import subprocess
import sys
import threading

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from poolhub import multiproc

pytestmark = pytest.mark.pure
COUNTING = """
import os
from prometheus_client import Counter, Gauge, Histogram
Counter("jobs", "Jobs", ["kind"]).labels(kind="a").inc(2)
Histogram("took", "Took", buckets=(1, 2)).observe(1.5)
Gauge("level", "Level", multiprocess_mode="all").set(7)
print(os.getpid(), flush=True)
input()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(multiproc.VARIABLE, str(tmp_path))
    return tmp_path


def counting() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", COUNTING], env=dict(os.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("\n")
    assert process.returncode == 0


def totals(folder) -> dict[str, float | None]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))
    value = registry.get_sample_value
    return {
        "jobs": value("jobs_total", {"kind": "a"}), "count": value("took_count"), "sum": value("took_sum"),
        "le1": value("took_bucket", {"le": "1.0"}), "le2": value("took_bucket", {"le": "2.0"}),
    }  # fmt: skip


def test_what_ended_processes_counted_stays_in_one_file_of_each_kind(folder) -> None:
    for _ in range(3):
        end(counting())
    before = totals(folder)
    assert before == {"jobs": 6, "count": 3, "sum": 4.5, "le1": 0, "le2": 3}
    assert multiproc.fold_ended() == 9  # a counter, a histogram and a gauge each
    assert totals(folder) == before
    assert sorted(file.name for file in folder.glob("*.db")) == ["counter_ended.db", "histogram_ended.db"]
    end(counting())
    assert multiproc.fold_ended() == 3
    assert totals(folder) == {"jobs": 8, "count": 4, "sum": 6, "le1": 0, "le2": 4}
    assert multiproc.fold_ended() == 0


def test_a_process_that_lives_keeps_its_files(folder) -> None:
    process = counting()
    try:
        assert multiproc.fold_ended() == 0
        assert (folder / f"counter_{process.pid}.db").exists()
        assert (folder / f"gauge_all_{process.pid}.db").exists()
    finally:
        end(process)


def test_a_file_that_its_process_never_filled_is_dropped(folder) -> None:
    process = counting()
    end(process)
    (folder / f"counter_{process.pid}.db").write_bytes(b"")
    assert multiproc.fold_ended() == 3
    assert totals(folder)["count"] == 1


def test_a_fold_waits_for_a_scrape(folder) -> None:
    end(counting())
    folded = threading.Event()
    thread = threading.Thread(target=lambda: multiproc.fold_ended() and folded.set())
    with multiproc.locked(folder, alone=False), multiproc.locked(folder, alone=False):  # scrapes do not wait
        thread.start()
        assert not folded.wait(0.1)
    thread.join(10)
    assert folded.is_set()


def test_a_new_cluster_begins_with_an_empty_folder(folder) -> None:
    end(counting())
    multiproc.wipe(folder)
    assert list(folder.glob("*.db")) == []
    multiproc.wipe(folder / "new" / "one")
    assert (folder / "new" / "one").is_dir()


def test_a_process_that_counts_alone_has_nothing_to_fold(monkeypatch) -> None:
    monkeypatch.delenv(multiproc.VARIABLE, raising=False)
    assert multiproc.folder() is None
    assert multiproc.fold_ended() == 0
