"""The benchmark of a match, in its quick form and without what only make bench installs."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import harness, match
from benchmarks.engines import live, postgres, sqlite
from benchmarks.facts import facts
from benchmarks.harness import Runner, interleave
from benchmarks.jobs import JOBS
from benchmarks.population import Population, population
from tests.benchmarks.options import options

pytestmark = pytest.mark.pure
SIZE, SEED = 1_000, 3


def test_a_quick_run_measures_the_registry_and_names_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(match, "classads", None)
    monkeypatch.setattr(match.postgres, "is_installed", lambda: False)
    monkeypatch.setattr(match, "BUDGET_S", (0.02, 10.0))
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    result = match.run(options(match, "--quick", "--sizes", str(SIZE), "--seed", str(SEED)))
    found = result["sizes"][0]
    assert found["miners"] == SIZE
    assert found["not_run"] == dict.fromkeys(("PostgreSQL", "ClassAds", "ClassAds, one call"), "not installed")
    for jobs in found["jobs"].values():
        assert set(jobs["hot"]) == {"registry", "SQLite"}
        assert jobs["hot"]["registry"]["p50_ms"] > 0
    assert "ClassAds: not installed" in match.report(found)
    assert result["environment"]["packages"]["numpy"] != "not installed"
    assert harness.write("match", result, match.tables(result)).parent == tmp_path / "quick"
    assert "1,000 miners" in (tmp_path / "quick" / "match.md").read_text()


@contextmanager
def database(engine: str, miners: Population) -> Iterator[Any]:
    if engine == "SQLite":
        yield sqlite.database_of(miners, facts(miners))
        return
    with postgres.server() as dsn, closing(postgres.database_of(dsn, miners, facts(miners))) as connection:
        assert postgres.processor_ns(connection)() > 0
        yield connection


@pytest.mark.parametrize(("engine", "prepared"), [("SQLite", sqlite.prepared), ("PostgreSQL", postgres.prepared)])
def test_databases_find_the_same_miners_as_the_registry_for_every_job(engine, prepared) -> None:
    miners = population(SIZE, SEED)
    registry = live.registry_of(miners)
    with database(engine, miners) as opened:
        for kind, jobs in JOBS.items():
            match.agree(registry, kind, {engine: {name: prepared(opened, query) for name, query in jobs.items()}})


def test_an_engine_that_finds_other_miners_is_not_timed() -> None:
    registry = live.registry_of(population(SIZE, SEED))
    with pytest.raises(AssertionError, match="liar ranks other miners for the rare job 'one'"):
        match.agree(registry, "rare", {"liar": dict.fromkeys(JOBS["rare"], lambda: ["nobody"])})


def test_the_same_seed_makes_the_same_miners() -> None:
    assert list(population(50, SEED).rows()) == list(population(50, SEED).rows())
    assert list(population(50, SEED).rows()) != list(population(50, SEED + 1).rows())


def test_runners_take_turns_and_keep_their_numbers_of_rounds() -> None:
    order: list[str] = []
    runners = [Runner("a", {"x": lambda: order.append("a")}, 40), Runner("b", {"x": lambda: order.append("b")}, 2)]
    samples = interleave(runners)
    assert "".join(order) == ("aa" * 10 + "b") * 2
    assert samples["a"].summary()["samples"] == 40
    assert samples["a"].summary()["p99_ms"] is None  # too few for one
