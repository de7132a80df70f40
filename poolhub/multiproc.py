"""The files through which the processes of one machine count together, in PROMETHEUS_MULTIPROC_DIR.

Each process writes files of its own, named by its id, and a scrape adds all of them up. The files of processes that
have ended are folded into one: their counts stay, so that no total ever falls, while the number of files stays bounded.
A scrape and a fold exclude each other by a lock.
"""

# mypy: disallow-untyped-calls=False
# prometheus_client's files have no types.

import fcntl
import os
import re
import struct
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
LOCK = "lock"
OF_PROCESS = re.compile(r"(?P<kind>[a-z]+)(_[a-z]+)?_(?P<pid>[0-9]+)\.db")
ENDED = "ended"  # counter_ended.db holds what processes had counted that are no more


def folder() -> Path | None:
    """None where this process counts alone."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


@contextmanager
def locked(where: Path, *, alone: bool) -> Iterator[None]:
    with (where / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


def wipe(where: Path) -> None:
    """Make it an empty folder, before the first process of a cluster starts."""
    where.mkdir(parents=True, exist_ok=True)
    for file in where.glob("*.db"):
        file.unlink()


def fold_ended() -> int:
    """Take the files of processes that have ended into one of each kind; how many files."""
    where = folder()
    if where is None:
        return 0
    with locked(where, alone=True):
        by_kind: defaultdict[str, list[Path]] = defaultdict(list)
        for file in where.iterdir():
            named = OF_PROCESS.fullmatch(file.name)
            if named is not None and not _is_alive(int(named["pid"])):
                by_kind[named["kind"]].append(file)
        for kind, files in by_kind.items():
            if kind != "gauge":  # a gauge says what is, and a process that has ended is not
                _fold(where / f"{kind}_{ENDED}.db", files)
            for file in files:
                file.unlink()
    return sum(map(len, by_kind.values()))


def _fold(target: Path, files: list[Path]) -> None:
    totals: defaultdict[str, float] = defaultdict(float)
    for file in [target, *files]:
        # a process may have been killed before its file held anything
        with suppress(FileNotFoundError, struct.error, RuntimeError):
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
                totals[key] += value
    made = target.with_suffix(".new")
    made.unlink(missing_ok=True)
    written = MmapedDict(str(made))
    for key, value in totals.items():
        written.write_value(key, value, 0.0)
    written.close()
    made.replace(target)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
