"""/admin/miners/priceoverride/: set, live, ended."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from access.models import Change
from miners.models import PriceOverride
from miners.services.operators import price_override_create
from poolhub.common import clock
from tests.miners.admin_pages import OVERRIDES, do
from tests.miners.builders import post, register, stored, view
from tests.operators import messages_of, shows, staff, superuser

pytestmark = pytest.mark.django_db(transaction=True)
COORDINATOR = {"X-Coordinator-Secret": "coordinator-secret-for-tests"}


@pytest.fixture
def root() -> Client:
    return superuser()


def override_page(of: str = "change") -> str:
    return reverse(f"admin:miners_priceoverride_{of}", args=[PriceOverride.objects.get().pk])


def matched_price(client: Client) -> tuple[float, str]:
    """What the next match asks for, over the API."""
    reply = post(client, "/v1/match", {"job_id": "j", "dry_run": True}, **COORDINATOR)
    assert reply.status_code == 200, reply.content
    (candidate,) = reply.json()["candidates"]
    return candidate["price"], candidate["explain"]


def test_an_override_set_in_the_list_is_live_in_the_next_match(root, client) -> None:
    register(price_token_per_ksec=Decimal("0.9"))
    assert matched_price(client)[0] == 0.9
    asked = do(root, "set_price_override", "m1")
    assert shows(asked, "Set a price override: 1 miner.")
    done = do(root, "set_price_override", "m1", confirmed="yes", price="0.25", reason="a campaign")
    assert messages_of(done) == ["1 miner given a price override."]
    price, explain = matched_price(client)
    assert price == 0.25
    assert "(override)" in explain
    made = PriceOverride.objects.get()
    assert (made.author.username, made.reason, made.valid_until) == ("root", "a campaign", None)


def test_an_override_added_on_its_page_is_live_in_the_next_match_until_it_is_ended(root, client) -> None:
    register(price_token_per_ksec=Decimal("0.9"))
    done = root.post(f"{OVERRIDES}add/", {"miner": stored().pk, "price": "0.25"}, follow=True)
    assert done.redirect_chain == [(OVERRIDES, 302)]
    assert matched_price(client)[0] == 0.25
    assert PriceOverride.objects.get().author.username == "root"
    pk = PriceOverride.objects.get().pk
    ended = root.post(OVERRIDES, {"action": "end_now", "_selected_action": pk, "_page": pk}, follow=True)
    assert messages_of(ended) == ["1 price override ended."]
    assert shows(ended, "past")
    assert matched_price(client)[0] == 0.9


def test_an_address_may_fill_in_the_form_but_for_its_times(root) -> None:
    register()
    reply = root.get(f"{OVERRIDES}add/", {"miner": stored().pk, "price": "0.3", "valid_from": "soon", "seen": "1"})
    assert reply.context["adminform"].form.initial == {"miner": str(stored().pk), "price": "0.3"}


def test_an_override_may_begin_and_end_later(root, time) -> None:
    register(price_token_per_ksec=Decimal("0.9"))
    starts, ends = (clock.to_datetime(time.now() + ahead) for ahead in (60, 120))
    sent = {
        "valid_from_0": f"{starts:%Y-%m-%d}", "valid_from_1": f"{starts:%H:%M:%S}",
        "valid_until_0": f"{ends:%Y-%m-%d}", "valid_until_1": f"{ends:%H:%M:%S}",
    }  # fmt: skip
    do(root, "set_price_override", "m1", confirmed="yes", price="0.25", **sent)
    seen = []
    for standing in ("future", "in force", "past"):
        assert shows(root.get(OVERRIDES), standing)
        found = root.get(OVERRIDES, {"when": standing}).context["cl"].result_list
        seen.append((view().price, len(found)))
        time.advance(60)
    assert seen == [(90_000_000, 1), (25_000_000, 1), (90_000_000, 1)]


def test_an_override_behind_a_newer_one_says_so(root) -> None:
    register()
    for price in (1, 2):
        price_override_create(miner_id="m1", price=Decimal(price))
    assert root.get(OVERRIDES).content.decode().count("in force, behind a newer one") == 1


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ({}, "price"), ({"price": "-1"}, "price"), ({"price": "NaN"}, "price"), ({"price": "1000000001"}, "price"),
        ({"price": "1", "valid_until_0": "2020-01-01", "valid_until_1": "00:00:00"}, "valid_until"),
        ({"price": "1", "valid_until_0": "soon", "valid_until_1": ""}, "valid_until"),
        ({"price": "1", "reason": "r" * 201}, "reason"),
    ],
)  # fmt: skip
def test_an_override_that_makes_no_sense_is_refused_at_its_field(root, sent, named) -> None:
    register()
    asked = do(root, "set_price_override", "m1", confirmed="yes", **sent)
    assert set(asked.context["form"].errors) == {named}
    asked = root.post(f"{OVERRIDES}add/", {"miner": stored().pk, **sent})
    assert set(asked.context["adminform"].form.errors) == {named}
    assert not PriceOverride.objects.exists()


def test_an_override_stays_as_it_was_set(root) -> None:
    register()
    price_override_create(miner_id="m1", price=Decimal(1))
    assert root.post(override_page(), {"price": "2"}).status_code == 403
    assert (PriceOverride.objects.get().price, view().price) == (1, 100_000_000)


def test_deleting_an_override_is_ending_it(root) -> None:
    register(price_token_per_ksec=Decimal("0.9"))
    price_override_create(miner_id="m1", price=Decimal(1))
    assert root.get(override_page("delete")).status_code == 200
    done = root.post(override_page("delete"), {"post": "yes"}, follow=True)
    assert messages_of(done) == ["The price override 1.00000000 for m1 has ended, and stays here."]
    assert PriceOverride.objects.get().valid_until is not None
    assert view().price == 90_000_000
    assert Change.objects.first().action == "price override ended"


def test_deleting_an_override_that_never_began_deletes_it(root, time) -> None:
    register()
    later = clock.to_datetime(time.now()) + timedelta(hours=1)
    price_override_create(miner_id="m1", price=Decimal(1), valid_from=later)
    done = root.post(override_page("delete"), {"post": "yes"}, follow=True)
    assert messages_of(done) == ["The price override 1.00000000 for m1 never began."]
    assert not PriceOverride.objects.exists()
    assert view().row.overrides == ()


def test_ending_an_override_takes_its_permission() -> None:
    register(price_token_per_ksec=Decimal("0.9"))
    price_override_create(miner_id="m1", price=Decimal(1))
    sent = {"action": "end_now", "_selected_action": PriceOverride.objects.get().pk}
    viewer = staff("miners.view_priceoverride")
    viewer.post(OVERRIDES, sent)
    assert viewer.post(override_page("delete"), {"post": "yes"}).status_code == 403
    assert view().price == 100_000_000
    staff("miners.change_priceoverride", name="other").post(OVERRIDES, sent)
    assert view().price == 90_000_000
