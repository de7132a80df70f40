"""/admin/matching/matchrecord/"""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from matching.models import MatchRecord
from tests.operators import shows, staff, superuser

pytestmark = pytest.mark.django_db
LIST = "/admin/matching/matchrecord/"


@pytest.fixture
def root() -> Client:
    return superuser()


def record(job_id: str = "j1", **fields: object) -> MatchRecord:
    told = {
        "request": {"job_id": job_id, "requirements": {"min_vram_gb": 8}},
        "candidates": [{"miner_id": "first-miner", "score": 0.9}, {"miner_id": "second-miner", "score": 0.5}],
        "explain": "cap=1.00", "considered": 3, "eligible": 2, "rejected": {"region": 1}, "latency_ms": 0.4,
    }  # fmt: skip
    return MatchRecord.objects.create(job_id=job_id, **{**told, **fields})


def jobs(client: Client, **params: str) -> list[str]:
    reply = client.get(LIST, params)
    assert reply.status_code == 200
    return [each.job_id for each in reply.context["cl"].result_list]


def test_the_newest_come_first_with_their_first_candidate(root) -> None:
    record("j1")
    record("j2", candidates=[])
    assert jobs(root) == ["j2", "j1"]
    reply = root.get(LIST)
    assert shows(reply, "first-miner")
    assert not shows(reply, "second-miner")


def test_a_search_leads_to_the_page_of_the_job(root) -> None:
    reply = root.get(LIST, {"q": "a job of two"})
    assert reply.headers["Location"] == "/admin/feedback/feedback/job/?job_id=a+job+of+two"
    assert staff(name="nobody").get(LIST, {"q": "a job"}).status_code == 403


def test_each_row_leads_to_the_page_of_its_job(root) -> None:
    record("a job & more")
    assert shows(root.get(LIST), "/admin/feedback/feedback/job/?job_id=a+job+%26+more")


def test_records_are_filtered_by_time(root) -> None:
    record()
    assert jobs(root, created_at__gte="2020-01-01 00:00:00+00:00") == ["j1"]
    assert jobs(root, created_at__lt="2020-01-01 00:00:00+00:00") == []


def test_the_page_shows_the_whole_of_it_indented(root) -> None:
    reply = root.get(f"{LIST}{record().pk}/change/")
    for text in (
        '"min_vram_gb": 8',
        '\n    "miner_id": "second-miner"',
        '{\n  "region": 1\n}',
        "cap=1.00",
    ):
        assert shows(reply, text)


def test_the_list_does_not_read_what_it_does_not_show(root) -> None:
    for i in range(5):
        record(f"j{i}")
    with CaptureQueriesContext(connection) as queries:
        root.get(LIST)
    of_records = [query["sql"] for query in queries if "matching_matchrecord" in query["sql"]]
    assert len(of_records) == 2  # one counts up to the highest, one reads the page
    assert not any('"request"' in sql or '"rejected"' in sql for sql in of_records)


def test_hostile_job_ids_are_escaped_and_show_what_they_hide(root) -> None:
    made = record("<script>alert(1)</script>\u202e")
    for url in (LIST, f"{LIST}{made.pk}/change/"):
        reply = root.get(url)
        assert shows(reply, "<script>alert(1)</script>\\u202e")
        assert "<script>alert(1)" not in reply.content.decode()
        assert "\u202e" not in reply.content.decode()


@pytest.mark.parametrize("url", ["add/", "{pk}/change/", "{pk}/delete/"])
def test_records_are_read_only(root, url) -> None:
    made = record()
    reply = root.post(LIST + url.format(pk=made.pk), {"job_id": "other", "post": "yes"})
    assert reply.status_code == 403
    assert MatchRecord.objects.get().job_id == "j1"


def test_nothing_is_deleted_from_the_list(root) -> None:
    made = record()
    sent = {"action": "delete_selected", "_selected_action": made.pk, "post": "yes"}
    root.post(LIST, sent)
    assert MatchRecord.objects.exists()


def test_records_take_the_permission_to_view_them() -> None:
    record()
    assert staff(name="nobody").get(LIST).status_code == 403
    assert jobs(staff("matching.view_matchrecord")) == ["j1"]
