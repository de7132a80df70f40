"""An override that overlaps with others is shown with them before it is set, one by one and in bulk."""

import threading
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from access.models import Change
from miners.admin import override_forms
from miners.models import PriceOverride
from miners.services.operators import price_override_create, price_override_end
from miners.standing import overlapping
from poolhub.common import clock
from poolhub.common.errors import Conflict
from tests.miners.admin_pages import OVERRIDES, do
from tests.miners.builders import register, stored, view
from tests.operators import messages_of, shows, staff, superuser

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def root() -> Client:
    return superuser()


def at(hours: float) -> datetime:
    return clock.to_datetime(clock.now() + 3600 * hours)


def override(price: float, start: float = 0, end: float | None = None, miner_id: str = "m1") -> PriceOverride:
    return price_override_create(
        miner_id=miner_id, price=Decimal(str(price)), valid_from=at(start), valid_until=None if end is None else at(end)
    )


def window(start: float, end: float | None) -> dict[str, str]:
    """As the form sends it."""
    sent = {"valid_from_0": f"{at(start):%Y-%m-%d}", "valid_from_1": f"{at(start):%H:%M:%S}"}
    if end is not None:
        sent |= {"valid_until_0": f"{at(end):%Y-%m-%d}", "valid_until_1": f"{at(end):%H:%M:%S}"}
    return sent


def add(client: Client, price: float, seen: str = "", **sent: str) -> Any:
    return client.post(f"{OVERRIDES}add/", {"miner": stored().pk, "price": str(price), "seen": seen, **sent})


def prices() -> list[Decimal]:
    return list(PriceOverride.objects.order_by("id").values_list("price", flat=True))


# ---- which ones overlap


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (0, None, {"open", "soon", "later"}), (0, 1, {"open"}), (1, 2, {"open", "soon"}), (2, 3, {"open"}),
        (3, 9, {"open", "later"}), (-5, 0.5, {"open"}), (9, 10, {"open"}),
    ],
)  # fmt: skip
def test_what_would_hold_at_some_time_of_the_window_overlaps(time, start, end, found) -> None:
    register()
    register("m2")
    override(9, miner_id="m2")
    known = {
        "open": override(1, -1),
        "soon": override(2, 1, 2),
        "later": override(3, 3, 9),
        "over": override(4, -2, -1),
    }
    ended = override(5, -3)
    price_override_end(override=ended)
    hits = overlapping([stored().pk], starts=at(start), ends=None if end is None else at(end))
    assert set(hits) == {known[name] for name in found}


# ---- one by one


def test_a_conflict_is_shown_and_nothing_is_saved_until_it_is_sent_again(root, time) -> None:
    register()
    first = override(0.5, 0, 2)
    shown = add(root, 0.8)
    assert shown.status_code == 200
    assert prices() == [Decimal("0.5")]
    assert [each.price for each in shown.context["conflicts"]] == ["0.5"]
    assert shows(shown, "It overlaps with 1 other override")
    form = shown.context["adminform"].form
    assert form["seen"].value() == str(first.pk)
    assert add(root, 0.8, seen=form["seen"].value()).status_code == 302
    assert prices() == [Decimal("0.5"), Decimal("0.8")]
    assert view().price == 80_000_000


def test_a_conflict_that_comes_meanwhile_is_shown_in_its_turn(root, time) -> None:
    register()
    seen = add(root, 0.8).status_code, override(0.5)
    shown = add(root, 0.9, seen="")
    meanwhile = override(0.6)
    again = add(root, 0.9, seen=shown.context["adminform"].form["seen"].value())
    assert seen[0] == 302
    assert again.status_code == 200
    assert meanwhile.pk in {int(pk) for pk in again.context["adminform"].form["seen"].value().split(",")}
    assert add(root, 0.9, seen=again.context["adminform"].form["seen"].value()).status_code == 302


def test_one_that_was_seen_and_has_ended_meanwhile_is_in_nobodys_way(root, time) -> None:
    register()
    gone = override(0.5)
    seen = add(root, 0.8).context["adminform"].form["seen"].value()
    price_override_end(override=gone)
    assert add(root, 0.8, seen=seen).status_code == 302


def test_windows_that_do_not_overlap_ask_nothing(root, time) -> None:
    register()
    override(0.5, 0, 1)
    assert add(root, 0.8, **window(1, 2)).status_code == 302
    assert add(root, 0.9, **window(0, 0.5)).status_code == 200


@pytest.mark.parametrize("seen", ["x", "1,", "٣", "9" * 40, "-1", "\x00"])
def test_what_cannot_be_a_list_of_overrides_has_seen_nothing(root, time, seen) -> None:
    register()
    override(0.5)
    assert add(root, 0.8, seen=seen).status_code == 200
    assert prices() == [Decimal("0.5")]


def test_the_service_looks_again_with_the_miner_locked(time) -> None:
    register()
    made = override(0.5)
    with pytest.raises(Conflict):
        price_override_create(miner_id="m1", price=Decimal(1), seen=[])
    price_override_create(miner_id="m1", price=Decimal(1), seen=[made.pk])
    price_override_create(miner_id="m1", price=Decimal(2))  # whoever does not ask is not told
    assert prices() == [Decimal("0.5"), Decimal(1), Decimal(2)]


def test_of_operators_who_set_one_at_the_same_moment_the_first_alone_is_not_asked() -> None:
    """Each has looked, and saw nothing in the way."""
    register()
    barrier, told = threading.Barrier(4), []

    def decide(number: int) -> None:
        barrier.wait()
        try:
            price_override_create(miner_id="m1", price=Decimal(number), seen=[])
            told.append("set")
        except Conflict:
            told.append("asked")
        finally:
            connection.close()

    threads = [threading.Thread(target=decide, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["asked", "asked", "asked", "set"]
    assert len(prices()) == 1


def test_a_conflict_that_only_the_service_sees_is_shown_like_any_other(root, time, monkeypatch) -> None:
    """Another operator was quicker, between the look and the lock."""
    register()
    override(0.6)
    looks = []

    def first_look_finds_nothing(pks: Any, **window: Any) -> Any:
        looks.append(1)
        if len(looks) == 1:
            return PriceOverride.objects.none()
        return overlapping(pks, **window)

    monkeypatch.setattr(override_forms, "overlapping", first_look_finds_nothing)
    shown = add(root, 0.9)
    assert shown.status_code == 200
    assert [each.price for each in shown.context["conflicts"]] == ["0.6"]
    assert prices() == [Decimal("0.6")]


# ---- in bulk


def test_in_bulk_conflicts_are_shown_first_and_then_set_for_all(root, time) -> None:
    register("m1")
    register("m2")
    override(0.5, miner_id="m2")
    shown = do(root, "set_price_override", "m1", "m2", confirmed="yes", price="0.8")
    assert [(each.miner_id, each.price) for each in shown.context["conflicts"]] == [("m2", "0.5")]
    assert prices() == [Decimal("0.5")]
    seen = shown.context["form"]["seen"].value()
    done = do(root, "set_price_override", "m1", "m2", confirmed="yes", price="0.8", seen=seen)
    assert messages_of(done) == ["2 miners given a price override."]
    after = Change.objects.filter(action="price override set").values_list("after__price", flat=True)
    assert [float(each) for each in after[:2]] == [0.8, 0.8]


def test_a_preview_lists_conflicts_and_sets_nothing(root, time) -> None:
    register()
    override(0.5)
    shown = do(root, "set_price_override", "m1", preview="yes", price="0.8", reason="why")
    assert shown.context["form"].errors == {}
    assert [each.price for each in shown.context["conflicts"]] == ["0.5"]
    assert prices() == [Decimal("0.5")]
    seen = shown.context["form"]["seen"].value()
    do(root, "set_price_override", "m1", confirmed="yes", price="0.8", seen=seen)
    assert prices() == [Decimal("0.5"), Decimal("0.8")]


def test_the_queries_of_the_page_do_not_grow_with_miners_and_conflicts(root, time) -> None:
    def queries(*names: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            do(root, "set_price_override", *names, preview="yes", price="0.8")
        return len(captured) - len(names)  # each is looked up by this test

    names = [f"m{number}" for number in range(6)]
    for name in names:
        register(name)
        override(0.5, miner_id=name)
    do(root, "set_price_override", "m0", preview="yes", price="0.8")
    assert queries(*names) == queries("m0")


def test_previews_and_conflicts_are_nobodys_without_the_permission(time) -> None:
    register()
    override(0.5)
    client = staff("miners.view_miner", "miners.view_priceoverride", "miners.change_miner")
    shown = do(client, "set_price_override", "m1", preview="yes", price="0.8")
    assert "conflicts" not in shown.context
    assert client.post(f"{OVERRIDES}add/", {"miner": stored().pk, "price": "1"}).status_code == 403


def test_the_list_marks_and_filters_each_standing(root, time) -> None:
    register()
    override(1, -2, -1)
    override(2, -1)
    override(3, 0)
    override(4, 1)
    html = root.get(OVERRIDES).content.decode()
    for text, colour in (("past", "bg-base"), ("behind a newer one", "bg-orange"), ("future", "bg-blue")):
        assert text in html
        assert colour in html
    for when, found in (("in force", [3, 2]), ("future", [4]), ("past", [1])):
        assert [int(each.price) for each in root.get(OVERRIDES, {"when": when}).context["cl"].result_list] == found
