"""`make chaos`, or `python -m tests.chaos --seed N [--only WORDS] [--table FILE]`.

Each fault is injected into a cluster under load, and lifted; then the checker looks. The table goes to stdout, and what
broke above it. Exit code 1 where a promise broke.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from tests.chaos import faults, report
from tests.chaos.faults import Fault
from tests.chaos.run import run


def chosen_by(words: Iterable[str]) -> list[Fault]:
    wanted = [word.strip().lower() for word in words]
    found = [each for each in faults.ALL if not wanted or any(word in each.name.lower() for word in wanted)]
    if not found:
        raise SystemExit("no fault has such a name: " + "; ".join(each.name for each in faults.ALL))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of what the load does")
    parser.add_argument("--only", default="", help="faults with one of these words in their names, separated by commas")
    parser.add_argument("--table", type=Path, metavar="FILE", help="put the table into this page, between its marks")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="an empty folder for logs, which else go at the end")
    options = parser.parse_args()
    chosen = chosen_by(options.only.split(",") if options.only else [])
    rows: list[report.Row] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as made:
        for moved_clock, some in groupby(chosen, lambda each: each.moved_clock):
            folder = (options.keep or Path(made)) / ("moved-clock" if moved_clock else "hub")
            folder.mkdir(parents=True)
            rows += asyncio.run(run(list(some), options.seed, folder, moved_clock=moved_clock))
    sys.stdout.write(report.text(rows, seed=options.seed, took_s=time.monotonic() - began))
    if options.table:
        report.put_into(options.table, rows, seed=options.seed, took_s=time.monotonic() - began)
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
