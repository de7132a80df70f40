"""What matches leave in the metrics (contract, section 10)."""

from poolhub.common.metrics import MATCH_EMPTY, MATCH_LATENCY, MATCH_REJECTIONS, MATCH_REQUESTS
from tests.matching.builders import add, ask, match


def counted() -> dict[str, float]:
    found = {name: MATCH_REQUESTS.labels(outcome=name)._value.get() for name in ("matched", "empty")}
    found["min_vram_gb"] = MATCH_REJECTIONS.labels(constraint="min_vram_gb")._value.get()
    observed = next(sample.value for sample in MATCH_LATENCY.collect()[0].samples if sample.name.endswith("_count"))
    return {**found, "observed": observed}


def added(before: dict[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in counted().items() if value != before[name]}


def test_a_match_is_counted_by_its_outcome_with_its_rejections(client) -> None:
    for miner_id in ("a", "b", "c"):
        add(miner_id, gpu_vram=16.0 if miner_id == "a" else 4.0)
    before = counted()
    match(client, requirements={"min_vram_gb": 8})
    assert added(before) == {"matched": 1, "observed": 1, "min_vram_gb": 2}
    before = counted()
    match(client, requirements={"min_vram_gb": 80})
    assert added(before) == {"empty": 1, "observed": 1, "min_vram_gb": 3}


def test_a_dry_run_is_counted_as_any_match(client) -> None:
    add()
    before = counted()
    match(client, dry_run=True)
    assert added(before) == {"matched": 1, "observed": 1}


def test_each_match_of_a_batch_is_counted_and_what_is_refused_is_not(client) -> None:
    add()
    before = counted()
    ask(client, "/v1/match/batch", requests=[{"job_id": "a"}, {"job_id": 5}, {"job_id": "b"}])
    ask(client, top_k=99)
    assert added(before) == {"matched": 2, "observed": 2}


def empty_by(constraint: str) -> float:
    return MATCH_EMPTY.labels(constraint=constraint)._value.get()


def test_a_match_without_a_candidate_is_counted_by_what_rejected_most(client) -> None:
    before = empty_by("no miners"), empty_by("region"), empty_by("min_vram_gb")
    match(client)
    for miner_id in ("a", "b", "c"):
        add(miner_id, region="eu" if miner_id == "a" else "us", gpu_vram=4.0)
    match(client, requirements={"min_vram_gb": 80})
    match(client, hints={"region": "asia"})
    match(client)
    assert (empty_by("no miners"), empty_by("region"), empty_by("min_vram_gb")) == tuple(each + 1 for each in before)
