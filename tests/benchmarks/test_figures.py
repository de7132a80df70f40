"""The figures to reach: read off results, and told in one table."""

import pytest

from benchmarks import figures, harness
from benchmarks.__main__ import BENCHMARKS, BY_NAME_ALONE

pytestmark = pytest.mark.pure


class Example:
    NAME = "example"
    FIGURES = (
        figures.at_most("time", 0.35, "ms", lambda result: result["ms"]),
        figures.at_least("rate", 5_000, "/s", lambda result: result["a_s"]),
        figures.at_most("memory", 500, "B", lambda result: result["bytes"]),
    )


def test_a_table_says_what_was_reached_missed_and_not_measured() -> None:
    lines = figures.table([Example], {"example": {"ms": 0.35, "a_s": 4_999}}).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells == [
        ["time", "≤ 0.35 ms", "0.35 ms", "yes", "example"],
        ["rate", "≥ 5,000 /s", "4,999 /s", "**no**", "example"],
        ["memory", "≤ 500 B", "not measured", "–", "example"],
    ]


def test_a_benchmark_without_a_result_has_no_line() -> None:
    assert len(figures.table([Example], {}).splitlines()) == 2


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda each: each.NAME)
def test_the_recorded_result_has_every_figure(benchmark) -> None:
    recorded = figures.recorded([benchmark], harness.RESULTS)
    if not recorded and benchmark in BY_NAME_ALONE:
        pytest.skip("no run of a quarter of an hour is recorded yet")
    result = recorded[benchmark.NAME]
    assert [each.what for each in benchmark.FIGURES if each.read(result) is None] == []
    assert not result["quick"]
