"""The history of matches: written behind, in batches, sampled by job, purged."""

import uuid
from decimal import Decimal

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from matching import records as module
from matching.models import Candidacy, MatchRecord
from matching.records import Matched, Records, in_sample, purge, records
from matching.serializers import MatchAnswer, MatchRequest
from miners.registry import runtime
from poolhub.common import clock
from poolhub.common.metrics import MATCH_RECORDS_DROPPED
from tests.matching.builders import add, ask, match, tokens

pytestmark = pytest.mark.django_db(transaction=True)
DAY_S = 86_400


def matched(job_id: str) -> Matched:
    answer = MatchAnswer(job_id=job_id, candidates=[], explain="", considered=0, eligible=0, rejected={})
    return Matched(MatchRequest(job_id=job_id), answer, clock.now(), 0.5)


def dropped() -> float:
    return MATCH_RECORDS_DROPPED._value.get()


def jobs() -> list[str]:
    return list(MatchRecord.objects.order_by("id").values_list("job_id", flat=True))


def test_a_match_is_stored_by_the_next_flush_as_it_was_asked_and_answered(client, fake_clock) -> None:
    add("m1", price=tokens(0.5))
    add("small", gpu_vram=1.0)
    asked = {
        "requirements": {"min_vram_gb": 8, "accel": None, "tags_any": []},
        "hints": {"max_price": "0.80", "weights": {"cap": 1, "price": None}, "region": None},
        "reserve": True,
    }
    answer = match(client, "j", **asked)
    assert not MatchRecord.objects.exists()
    assert records.flush() == 1
    kept = MatchRecord.objects.get()
    assert kept.request == {
        "job_id": "j",
        "requirements": {"min_vram_gb": 8, "tags_any": []},
        "hints": {"max_price": 0.8, "weights": {"cap": 1}},
        "reserve": True,
    }
    assert [kept.job_id, kept.explain, kept.considered, kept.eligible, kept.rejected] == [
        "j", answer["explain"], 2, 1, {"min_vram_gb": 1},
    ]  # fmt: skip
    assert kept.candidates == answer["candidates"]
    assert kept.reservation_id == uuid.UUID(answer["reservation"]["id"])
    assert kept.created_at == clock.to_datetime(fake_clock.now())
    assert kept.latency_ms >= 0


@pytest.mark.parametrize("price", [0.8, "0.8", 0, 10**9, "0.00000001", "123456789.12345678"])
def test_a_price_limit_is_stored_as_a_number(client, price) -> None:
    match(client, hints={"max_price": price})
    records.flush()
    assert MatchRecord.objects.get().request["hints"] == {"max_price": float(Decimal(price))}


def test_every_field_that_a_body_may_have_is_stored(client) -> None:
    requirements = {"task": "t", "min_vram_gb": 1.5, "min_gpu_count": 1, "min_trust": 0.5, "gpu_models": ["é\u2028😀"],
                    "exclude_miners": ["x"], "attested": False}  # fmt: skip
    hints = {"region": "", "deadline_ms": 1e12, "weights": {"cap": 5e-324}, "explain": "full", "spillover": True}
    body = {"requirements": requirements, "hints": hints, "top_k": 50, "reserve": False, "reservation_ttl_ms": 1000}
    match(client, "\U0010ffff", **body)
    records.flush()
    assert MatchRecord.objects.get().request == {"job_id": "\U0010ffff", **body}


def test_a_match_touches_no_database(client) -> None:
    add()
    with CaptureQueriesContext(connection) as queries:
        for i in range(3):
            match(client, f"j{i}", hints={"explain": "full"})
            ask(client, "/v1/match/why-not", miner_id="m1")
    assert len(queries) == 0


def test_why_not_and_dry_runs_are_left_out(client) -> None:
    add()
    match(client, dry_run=True)
    ask(client, "/v1/match/why-not", miner_id="m1")
    ask(client, top_k=99)
    assert records.flush() == 0


def test_each_answer_of_a_batch_is_kept_and_refused_ones_are_not(client) -> None:
    add()
    ask(client, "/v1/match/batch", requests=[{"job_id": "a"}, {"job_id": 5}, {"job_id": "b"}])
    records.flush()
    assert jobs() == ["a", "b"]


def test_a_flush_writes_in_batches_in_the_order_of_the_matches(monkeypatch) -> None:
    monkeypatch.setattr(module, "BATCH", 4)
    kept = Records()
    for i in range(10):
        kept.add(matched(f"j{i}"))
    with CaptureQueriesContext(connection) as queries:
        assert kept.flush() == 10
    assert sum(each["sql"].startswith("INSERT") for each in queries) == 3  # 4 + 4 + 2
    with CaptureQueriesContext(connection) as queries:
        assert kept.flush() == 0
    assert len(queries) == 0
    assert jobs() == [f"j{i}" for i in range(10)]


def test_a_full_batch_fits_into_one_statement() -> None:
    kept = Records()
    for i in range(module.BATCH):
        kept.add(matched(f"j{i}"))
    with CaptureQueriesContext(connection) as queries:
        assert kept.flush() == module.BATCH
    assert sum(each["sql"].startswith("INSERT") for each in queries) == 1
    assert MatchRecord.objects.count() == module.BATCH


def test_text_that_looks_like_sql_or_like_a_parameter_is_stored_as_it_is(client) -> None:
    name = "'; DROP TABLE x; -- %s %(a)s {} \\ \" \u2028"
    add(gpu_name=name, region="eu-%d", capabilities=["100%"])
    answer = match(client, name, requirements={"capabilities_any": ["100%"], "gpu_models": [name]})
    records.flush()
    kept = MatchRecord.objects.get()
    assert (kept.job_id, kept.request["requirements"]["gpu_models"]) == (name, [name])
    assert kept.candidates == answer["candidates"]
    assert [each["gpu_name"] for each in kept.candidates] == [name]


def test_all_matches_of_a_job_are_in_the_sample_or_none(settings) -> None:
    settings.MATCH_RECORD_SAMPLE = 0.25
    kept = Records()
    names = [str(uuid.UUID(int=i * 7919)) for i in range(2000)]
    for job_id in names * 2:
        kept.add(matched(job_id))
    kept.flush()
    found = jobs()
    assert sorted(found) == sorted(name for name in names * 2 if in_sample(name))
    assert 0.2 < len(found) / 4000 < 0.3


@pytest.mark.parametrize(("share", "kept"), [(0, 0), (1, 100)])
def test_a_sample_of_none_and_of_all(settings, share, kept) -> None:
    settings.MATCH_RECORD_SAMPLE = share
    assert sum(in_sample(f"job {i}") for i in range(100)) == kept


class Away:
    """A database that refuses so many writes."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, execute, sql, params, many, context):
        if self.times and sql.startswith("INSERT"):
            self.times -= 1
            raise OperationalError("the server closed the connection")
        return execute(sql, params, many, context)


def test_what_cannot_be_written_is_kept_for_the_next_flush(monkeypatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    kept = Records()
    for i in range(5):
        kept.add(matched(f"j{i}"))
    with connection.execute_wrapper(Away(1)), pytest.raises(OperationalError):
        kept.flush()
    kept.add(matched("j5"))
    assert kept.flush() == 6
    assert jobs() == [f"j{i}" for i in range(6)]


def test_while_the_database_is_away_the_newest_are_kept_and_the_rest_counted(monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 10)
    monkeypatch.setattr(module, "BATCH", 4)
    kept, before = Records(), dropped()
    for i in range(13):
        kept.add(matched(f"j{i}"))
    with connection.execute_wrapper(Away(1)), pytest.raises(OperationalError):
        kept.flush()
    kept.add(matched("j13"))
    assert dropped() - before == 4
    kept.flush()
    assert jobs() == [f"j{i}" for i in range(4, 14)]


def test_matches_that_come_during_a_flush_that_fails_do_not_lift_the_bound(monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 10)
    monkeypatch.setattr(module, "BATCH", 4)
    kept, before = Records(), dropped()
    for i in range(10):
        kept.add(matched(f"j{i}"))

    def meanwhile(execute, sql, params, many, context):
        if not sql.startswith("INSERT"):
            return execute(sql, params, many, context)
        for i in range(10, 14):
            kept.add(matched(f"j{i}"))
        raise OperationalError("away")

    with connection.execute_wrapper(meanwhile), pytest.raises(OperationalError):
        kept.flush()
    assert dropped() - before == 4
    assert kept.flush() == 10
    assert jobs() == [f"j{i}" for i in range(4, 14)]


def candidacies() -> list[tuple[str, str]]:
    """(job, miner offered), in the order in which they were written."""
    return list(Candidacy.objects.order_by("id").values_list("record__job_id", "miner_id"))


def test_each_candidate_of_a_record_is_linked_to_it_and_to_no_other(client, fake_clock) -> None:
    for number in (1, 2, 3):
        add(f"m{number}", price=tokens(0.1 * number))
    match(client, "one")
    match(client, "three", top_k=5)
    match(client, "none", requirements={"min_vram_gb": 9999})
    records.flush()
    offered = {"one": 1, "three": 3, "none": 0}
    for record in MatchRecord.objects.all():
        links = Candidacy.objects.filter(record=record).order_by("id")
        assert [each.miner_id for each in links] == [each["miner_id"] for each in record.candidates]
        assert len(links) == offered[record.job_id]
        assert {each.made_at for each in links} <= {record.created_at}


def test_links_of_more_rows_than_one_statement_takes_are_all_written(client, monkeypatch) -> None:
    monkeypatch.setattr("matching.candidacies.CHUNK", 2)
    for number in range(5):
        add(f"m{number}")
    match(client, "j", top_k=5)
    records.flush()
    assert candidacies() == [("j", f"m{number}") for number in range(5)]


def test_a_flush_that_fails_halfway_leaves_neither_record_nor_links(client) -> None:
    add()
    match(client, "j")

    def away(execute, sql, params, many, context):
        if "matching_candidacy" in sql:
            raise OperationalError("away")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(away), pytest.raises(OperationalError):
        records.flush()
    assert not MatchRecord.objects.exists()
    assert records.flush() == 1
    assert candidacies() == [("j", "m1")]


def test_what_is_being_stored_waits_until_it_is_there() -> None:
    kept, seen = Records(), []
    kept.add(matched("j"))

    def look(execute, sql, params, many, context):
        seen.append([each.request.job_id for each in kept.waiting("j")])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(look):
        kept.flush()
    assert seen
    assert all(each == ["j"] for each in seen)
    assert kept.waiting("j") == []


def test_links_are_purged_with_their_records(client, settings, fake_clock) -> None:
    settings.MATCH_RECORD_DAYS = 1
    add()
    match(client, "old")
    records.flush()
    fake_clock.advance(DAY_S + 1)
    add("m2")
    match(client, "new")
    records.flush()
    assert purge() == 1
    assert candidacies() == [("new", "m2")]


def test_a_clean_stop_stores_what_waits(monkeypatch) -> None:
    monkeypatch.setattr(runtime, "_background", runtime.Background())
    kept = Records()
    for job_id in ("a", "b"):
        kept.add(matched(job_id))
    runtime._background.start()
    runtime.stop()
    assert jobs() == ["a", "b"]


def test_what_is_older_than_its_days_is_purged(settings, fake_clock, monkeypatch) -> None:
    monkeypatch.setattr(module, "PURGE_CHUNK", 2)
    settings.MATCH_RECORD_DAYS = 14
    for days in (20, 15, 14.01, 14.005, 14.001, 14, 13.999, 1):
        at = clock.to_datetime(fake_clock.now() - days * DAY_S)
        MatchRecord.objects.create(job_id=f"{days}", created_at=at, latency_ms=1)
    assert purge() == 5
    assert jobs() == ["14", "13.999", "1"]
    fake_clock.advance(1)
    assert purge() == 1
    assert purge() == 0


def test_without_days_nothing_is_purged(settings) -> None:
    settings.MATCH_RECORD_DAYS = 0
    MatchRecord.objects.create(job_id="j", created_at=clock.to_datetime(0), latency_ms=1)
    assert purge() == 0


def test_a_record_tells_its_job_and_time() -> None:
    assert str(MatchRecord(job_id="j", created_at=clock.to_datetime(1_800_000_000), latency_ms=1)) == (
        "j at 2027-01-15 08:00:00"
    )
