"""The benchmark of starts, with few miners and one turn."""

import pytest

from benchmarks import start
from tests.benchmarks.options import options

pytestmark = pytest.mark.pure
MINERS = 300


@pytest.mark.bench
def test_every_way_leads_to_the_same_registry_and_the_snapshot_s_cost_is_told() -> None:
    result = start.run(options(start, "--quick", "--miners", str(MINERS), "--storages", "sqlite"))
    (found,) = result["runs"]
    assert found["miners"] == MINERS
    assert set(found["starts"]) == {*start.WAYS, start.BUSY}
    assert all(each["process_s"] > each["seconds"] > 0 < each["cpu_s"] for each in found["starts"].values())
    assert found["making"]["bytes_all"] > found["making"]["bytes_live"] > 100 * MINERS
    assert f"{MINERS} miners, sqlite" in start.tables(result)
    assert [each.read(result) for each in start.FIGURES] == [None] * len(start.FIGURES)  # another size


def test_figures_are_read_off_the_largest_run_of_each_storage() -> None:
    def run(storage: str, miners: int, seconds: float) -> dict[str, object]:
        starts = {way: {"seconds": seconds, "process_s": seconds + 1} for way in (*start.WAYS, start.BUSY)}
        return {"storage": storage, "miners": miners, "starts": starts}

    runs = [run("sqlite", 1_000, 0.1), run("sqlite", 100_000, 0.5), run("postgres", 100_000, 2.5)]
    seen = {each.what: each.read({"runs": runs}) for each in start.FIGURES}
    assert seen["start, 100,000 miners, sqlite: from a snapshot"] == 0.5
    assert seen["start, 100,000 miners, sqlite: from a snapshot, interpreter and modules included"] == 1.5
    assert seen["start, 100,000 miners, postgres: from the database"] == 2.5


def test_ways_that_lead_to_other_registries_do_not_count() -> None:
    told = {way: [{"miners": 2, "digest": "a"}] for way in start.WAYS}
    start.agree(told, 2)
    told["snapshot"][0]["digest"] = "b"
    with pytest.raises(AssertionError, match="the same registry"):
        start.agree(told, 2)
    with pytest.raises(AssertionError, match="every miner"):
        start.agree(told, 3)
