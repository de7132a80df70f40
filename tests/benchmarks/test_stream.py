"""The benchmark of the match stream: a short run."""

import pytest

from benchmarks import stream
from benchmarks.stream import ALONE, BESIDE
from tests.benchmarks.options import options

pytestmark = pytest.mark.pure


@pytest.mark.bench
def test_a_short_run_has_done_what_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "QUICK_HEARTBEATS_S", 100)
    monkeypatch.setattr(stream, "SUSTAINED", 0.5)  # of a machine that does much else
    result = stream.run(options(stream, "--quick"))
    (found,) = result["runs"]
    assert found["subscriptions"] == 10
    assert all(found[each]["matches_s"] > 0 and found[each]["heartbeats_s"] > 0 for each in (ALONE, BESIDE))
    assert (found[ALONE]["rankings_s"], found[BESIDE]["rankings_s"] > 0) == (0, True)
    assert "| 10 |" in stream.tables(result).replace("            10 |", " 10 |")
    assert [figure.read(result) for figure in stream.FIGURES] == [None] * len(stream.FIGURES)  # other numbers
