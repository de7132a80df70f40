"""The load run, with few miners and for seconds: a whole hub, beyond what it can do too."""

import pytest

from benchmarks import load
from tests.benchmarks.options import options

pytestmark = pytest.mark.bench


def test_a_short_run_has_done_what_it_tells() -> None:
    result = load.run(options(load, "--quick", "--beyond"))
    steady, beyond = result["steady"], result["beyond"]
    assert steady["errors"] == {}
    assert steady["done"]["granted"] > 0 < steady["done"]["feedback"]
    assert steady["overbooked"] == 0
    assert steady["journal"]["matched"] == steady["all"]["match"]["samples"]
    assert {"rest", "sockets", "worker", "nginx", "postgres", "valkey"} <= steady["memory"].keys()
    assert min(each["first_mb"] for each in steady["memory"].values()) > 0
    assert beyond["capacity"]["matched_s"] > 0
    assert all(each["counts"]["never answered"] == 0 for each in beyond["floods"])
    assert (beyond["herd"]["open"], beyond["rush"]["open"]) == (load.QUICK_MINERS, load.QUICK_MINERS)
    text = load.tables(result)
    assert "feedbacks were acknowledged, stored and counted" in text
    assert "register again, and open their sockets" in text
