"""What all admin pages share."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db import connection
from django.template import Context, Template
from django.test.utils import CaptureQueriesContext

from poolhub.common.admin import AtLeast, CappedPaginator, shown_json, shown_text

pytestmark = pytest.mark.django_db


class OfFive(CappedPaginator):
    highest = 5


def users(number: int) -> Paginator:
    User.objects.bulk_create(User(username=f"u{i}") for i in range(number))
    return OfFive(User.objects.order_by("username"), 2)


@pytest.mark.parametrize(("number", "count", "pages"), [(0, 0, 1), (4, 4, 2), (5, 5, 3), (6, 5, 3), (20, 5, 3)])
def test_rows_are_counted_up_to_the_highest(number, count, pages) -> None:
    paginator = users(number)
    assert (paginator.count, paginator.num_pages) == (count, pages)


def test_a_count_that_was_cut_says_so() -> None:
    assert str(users(5).count) == "5"
    User.objects.create(username="one more")
    assert str(OfFive(User.objects.order_by("username"), 2).count) == "5+"
    assert Template("{{ count }}").render(Context({"count": AtLeast(5)})) == "5+"


def test_no_more_rows_are_read_than_the_highest_and_one() -> None:
    paginator = users(9)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert paginator.count == 5
    assert "LIMIT 6" in queries[0]["sql"]


def test_the_pages_that_are_there_are_whole() -> None:
    paginator = users(9)
    assert [user.username for user in paginator.page(2)] == ["u2", "u3"]
    assert len(paginator.page(3)) == 1  # the fifth


def test_text_is_escaped_and_stays_by_itself() -> None:
    assert shown_text("<b>\u202e") == "<bdi>&lt;b&gt;\\u202e</bdi>"
    assert shown_text("") == "-"


def test_json_is_indented_escaped_and_hides_nothing() -> None:
    assert shown_json({"a": ["<é\u202e"]}) == ("<pre>{\n  &quot;a&quot;: [\n    &quot;&lt;é\\u202e&quot;\n  ]\n}</pre>")


def test_django_offers_its_own_bulk_deletion_nowhere_but_for_its_own_models(rf) -> None:
    from django.contrib.admin import site

    from poolhub.common.admin import HubAdmin

    request = rf.get("/")
    request.user = User.objects.create_superuser("root")
    ours = [page for page in site._registry.values() if isinstance(page, HubAdmin)]
    assert len(ours) == len(site._registry)
    own = site.get_action("delete_selected")
    assert all(own not in [action[0] for action in page.get_actions(request).values()] for page in ours)
    assert LogEntry not in site._registry
