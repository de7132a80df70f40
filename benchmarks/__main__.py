"""python -m benchmarks [NAME] [options]: run one or all, print a table, write results/NAME.*."""

from argparse import ArgumentParser

from benchmarks import harness, match

BENCHMARKS = (match,)  # each has NAME, arguments(parser), run(options), tables(result) and plot(result)


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = parser.add_subparsers(dest="name")
    for each in BENCHMARKS:
        each.arguments(names.add_parser(each.NAME, help=(each.__doc__ or "").splitlines()[0]))
    chosen = parser.parse_args()
    for each in BENCHMARKS:
        if chosen.name in (None, each.NAME):
            options = chosen if chosen.name else parser.parse_args([each.NAME])
            result = each.run(options)
            written = harness.write(each.NAME, result, each.tables(result))
            print(f"\nwritten: {written.relative_to(harness.ROOT)}")
            each.plot(result)


if __name__ == "__main__":
    main()
