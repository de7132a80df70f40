"""The benchmark of heartbeats between processes, with few miners, a low rate and a moment."""

import pytest

from benchmarks import replicas
from tests.benchmarks.options import options

pytestmark = pytest.mark.pure


@pytest.mark.bench
def test_writer_and_reader_hold_the_same_after_a_short_run_in_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "QUICK_RATES", (500,))
    monkeypatch.setattr(replicas, "QUICK_SECONDS", 0.3)
    monkeypatch.setattr(replicas, "QUICK_FLOOD", 2_000)
    result = replicas.run(options(replicas, "--quick", "--miners", "50"))
    assert result["flood"]["heartbeats"] == 2_000
    assert result["flood"]["per_s"] > 0
    assert {each["way"] for each in result["rates"]} == {replicas.HUB, replicas.PLAIN}
    assert all(0 < each["p50_ms"] <= each["p99_ms"] <= each["max_ms"] for each in result["rates"])
    assert "works off" in replicas.tables(result)
    assert replicas.FIGURES[0].read(result) == result["flood"]["per_s"]
    assert replicas.FIGURES[-1].read(result) is None  # another rate
