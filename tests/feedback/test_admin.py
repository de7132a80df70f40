"""/admin/feedback/feedback/"""

from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from feedback.models import Feedback
from miners.models import Miner
from tests.operators import shows, staff, superuser

pytestmark = pytest.mark.django_db
LIST = "/admin/feedback/feedback/"


@pytest.fixture
def root() -> Client:
    return superuser()


def told(job_id: str = "j1", miner_id: str = "m1", **fields: object) -> Feedback:
    miner, _ = Miner.objects.get_or_create(miner_id=miner_id)
    return Feedback.objects.create(job_id=job_id, miner=miner, **{"outcome": "completed", **fields})


def jobs(client: Client, **params: str) -> list[str]:
    reply = client.get(LIST, params)
    assert reply.status_code == 200
    return [each.job_id for each in reply.context["cl"].result_list]


def test_the_newest_comes_first(root) -> None:
    told("j1", tokens_spent=Decimal("1.5"))
    told("j2", outcome="failed", fail_code="oom")
    assert jobs(root) == ["j2", "j1"]
    reply = root.get(LIST)
    assert all(shows(reply, text) for text in ("m1", "failed", "oom", "1.50000000"))


def test_feedback_is_found_by_job_or_miner(root) -> None:
    told("j1", "m1")
    told("j2", "m2")
    assert jobs(root, q="j1") == jobs(root, q="m1") == ["j1"]
    assert jobs(root, q="m") == jobs(root, q="\u00e9") == []


def test_feedback_is_filtered(root) -> None:
    told("j1")
    told("j2", outcome="failed")
    assert jobs(root, outcome__exact="failed") == ["j2"]
    assert jobs(root, created_at__lt="2020-01-01 00:00:00+00:00") == []


def test_the_page_answers(root) -> None:
    made = told(latency_ms=40, fail_code="<b>")
    assert shows(root.get(f"{LIST}{made.pk}/change/"), "<b>")


def test_hostile_job_ids_are_escaped_and_show_what_they_hide(root) -> None:
    made = told("<script>alert(1)</script>\u202e")
    for url in (LIST, f"{LIST}{made.pk}/change/"):
        reply = root.get(url)
        assert shows(reply, "<script>alert(1)</script>\\u202e")
        assert "<script>alert(1)" not in reply.content.decode()
        assert "\u202e" not in reply.content.decode()


def test_the_queries_of_the_list_do_not_grow_with_its_rows(root) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            root.get(LIST)
        return len(captured)

    told("j0", "m0")
    few = queries()
    for i in range(1, 10):
        told(f"j{i}", f"m{i}")
    assert queries() == few


@pytest.mark.parametrize("url", ["add/", "{pk}/change/", "{pk}/delete/"])
def test_feedback_is_read_only(root, url) -> None:
    made = told()
    reply = root.post(LIST + url.format(pk=made.pk), {"outcome": "failed", "post": "yes"})
    assert reply.status_code == 403
    assert Feedback.objects.get().outcome == "completed"


def test_a_miner_with_feedback_can_be_asked_to_be_removed(root) -> None:
    made = told()
    asked = root.get(f"/admin/miners/miner/{made.miner.pk}/delete/")
    assert dict(asked.context["model_count"]) == {"miners": 1, "feedback": 1}
    assert not asked.context["perms_lacking"]


def test_feedback_takes_the_permission_to_view_it() -> None:
    told()
    assert staff(name="nobody").get(LIST).status_code == 403
    assert jobs(staff("feedback.view_feedback")) == ["j1"]
