"""/admin/feedback/feedback/job/: what was asked of a job, who was offered and why, what came of it."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from feedback.models import Feedback
from matching.models import MatchRecord, Reservation
from matching.records import records
from miners.services.operators import miner_create
from tests.feedback.builders import tell
from tests.feedback.test_miner_page import heard
from tests.matching.builders import match, reserve
from tests.operators import shows, staff, superuser

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/admin/feedback/feedback/job/"


@pytest.fixture
def root() -> Client:
    return superuser()


@pytest.fixture(autouse=True)
def pool(registry, fake_clock) -> None:
    for name in ("m1", "m2"):
        miner_create(miner_id=name, profile={"max_parallel": 9})
        heard(registry, name, fake_clock.now())


def job(client: Client, job_id: str) -> Any:
    return client.get(URL, {"job_id": job_id})


def events(reply: Any) -> list[tuple[str, str]]:
    return [(each.what, each.miner_id) for each in reply.context["events"]]


def test_a_job_is_told_from_its_match_to_its_outcome(root, client, fake_clock) -> None:
    reserve(client, "a job", top_k=2, requirements={"min_vram_gb": 0}, hints={"weights": {"price": 1}})
    records.flush()
    fake_clock.advance(1)
    tell("accepted", "m1", "a job")
    fake_clock.advance(1)
    tell("completed", "m1", "a job", latency_ms=320, tokens_spent="1.5")
    reply = job(root, "a job")
    assert events(reply)[:2] == [("matched: 2 of 2 eligible", ""), ("accepted", "m1")]
    assert sorted(events(reply)[2:]) == [("completed", "m1"), ("reservation ended", "m1")]
    (shown,) = reply.context["matches"]
    assert [each.miner_id for each in shown.ranking] == ["m1", "m2"]
    assert [bar.note for bar in shown.ranking[0].components][1].startswith("100% of the score")  # as it was asked
    for text in ("320 ms, 1.5 tokens", '"min_vram_gb": 0', "cap=1.00", shown.reservation_id):
        assert shows(reply, text)


def test_a_job_that_nobody_could_do_says_why(root, client) -> None:
    match(client, "too big", requirements={"min_vram_gb": 500})
    records.flush()
    reply = job(root, "too big")
    assert events(reply) == [("matched with nobody", "")]
    assert shows(reply, "no miner of 2 is eligible: min_vram_gb rejected 2")
    assert [(bar.name, bar.number) for bar in reply.context["matches"][0].rejected] == [("min_vram_gb", "2")]


def test_a_job_outside_the_sample_still_has_its_feedback_and_reservations(root, client, settings) -> None:
    settings.MATCH_RECORD_SAMPLE = 0.0
    reserve(client, "j")
    tell("rejected", "m1", "j")
    records.flush()
    assert sorted(events(job(root, "j"))) == [("rejected", "m1"), ("reservation ended", "m1")]


def test_a_reservation_that_ran_out_is_told_as_such(root, client, fake_clock) -> None:
    reserve(client, "j", reservation_ttl_ms=1000)
    assert events(job(root, "j")) == [("reserved until then", "m1")]
    fake_clock.advance(2)
    assert events(job(root, "j")) == [("reservation ran out", "m1")]


@pytest.mark.parametrize("job_id", ["unknown", "x" * 129, "a\x00b", "é\u202e"])
def test_a_job_of_which_nothing_is_known_says_so(root, job_id) -> None:
    assert shows(job(root, job_id), "Nothing is known of this job.")


def test_without_a_job_it_leads_to_the_list(root) -> None:
    assert root.get(URL).headers["Location"] == "/admin/matching/matchrecord/"


def test_the_number_of_queries_does_not_grow_with_what_is_known(root, client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert job(root, "j").status_code == 200
        return len(captured)

    match(client, "j")
    records.flush()
    few = queries()
    for _ in range(5):
        reserve(client, "j", top_k=2)
    for outcome in ("accepted", "completed"):
        tell(outcome, "m1", "j")
    tell("rejected", "m2", "j")
    records.flush()
    assert queries() == few
    assert few <= 8  # session, user, permissions of its groups; and matches, feedback, reservations, miners


def test_records_of_other_versions_are_shown_as_far_as_they_can_be_read(root) -> None:
    asked = {"hints": {"weights": {"price": "much", "beauty": 1}}}
    candidates = [{"miner_id": "m1", "score": 0.5, "components": {"cap": 1.0}}, {"score": 0.1}]
    MatchRecord.objects.create(job_id="j", latency_ms=1, request=asked, candidates=candidates, rejected={"charm": 3})
    assert shows(job(root, "j"), "m1")


def test_what_strangers_wrote_is_escaped_and_shows_what_it_hides(root) -> None:
    attack = "<script>alert(1)</script>\u202e"
    MatchRecord.objects.create(
        job_id=attack, latency_ms=1, request={"x": attack}, explain=attack, candidates=[{"miner_id": attack}]
    )
    reply = job(root, attack)
    assert shows(reply, "<script>alert(1)</script>\\u202e")
    html = reply.content.decode()
    assert "<script>alert" not in html
    assert html.count("\u202e") == html.count('value="&lt;script&gt;alert(1)&lt;/script&gt;\u202e"')  # the search field


def test_each_part_takes_the_permission_to_view_it(client) -> None:
    reserve(client, "j")
    tell("completed", "m1", "j")
    records.flush()
    assert Reservation.objects.exists()
    assert Feedback.objects.exists()
    assert job(staff(name="nobody"), "j").status_code == 403
    assert events(job(staff("feedback.view_feedback"), "j")) == [("completed", "m1")]
    matches_alone = job(staff("matching.view_matchrecord", name="other"), "j")
    assert events(matches_alone) == [("matched: 2 of 2 eligible", "")]
    assert not shows(matches_alone, "/admin/miners/miner/")
