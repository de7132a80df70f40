"""python -m benchmarks [--quick] [NAME [options]]: run one or all (but for load), print tables, write results/NAME.*.

`python -m benchmarks figures` runs nothing and tells the figures of the results that are there.
"""

from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path

from benchmarks import figures, harness, heartbeats, load, match, replicas, reservations, rest, start, stream

# each has NAME, FIGURES, arguments(parser), run(options), tables(result) and plot(result)
BENCHMARKS = (match, rest, heartbeats, replicas, reservations, stream, start, load)

BY_NAME_ALONE = (load,)  # takes a quarter of an hour, and wants the machine for itself


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="all of them, short: a check, not a measurement")
    names = parser.add_subparsers(dest="name")
    names.add_parser("figures", help="the figures of the results that are there")
    for each in BENCHMARKS:
        each.arguments(names.add_parser(each.NAME, help=(each.__doc__ or "").splitlines()[0]))
    chosen = parser.parse_args()
    if chosen.name == "figures":
        print(summary(harness.RESULTS, figures.recorded(BENCHMARKS, harness.RESULTS)))
        return
    found, folder = {}, harness.RESULTS
    for each in BENCHMARKS:
        if chosen.name == each.NAME or (chosen.name is None and each not in BY_NAME_ALONE):
            options = chosen if chosen.name else parser.parse_args([each.NAME, *(["--quick"] if chosen.quick else [])])
            result = found[each.NAME] = each.run(options)
            written = harness.write(each.NAME, result, each.tables(result))
            folder = written.parent
            print(f"\nwritten: {written.relative_to(harness.ROOT)}", flush=True)
            each.plot(result)
    others = {} if chosen.name else figures.recorded(BENCHMARKS, folder)
    print(f"\n{summary(folder if chosen.name is None else None, {**others, **found})}")


def summary(folder: Path | None, results: Mapping[str, figures.Result]) -> str:
    """The table of figures, which is kept beside the results of all."""
    text = figures.table(BENCHMARKS, results)
    if folder is not None:
        (folder / "figures.md").write_text(f"# Figures to reach, and seen\n\n{text}\n")
    return text


if __name__ == "__main__":
    main()
