"""What the admin shows of secrets to whoever may look at it, and what can be asked of it in an address."""

import secrets
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.test import Client

from access.roles import Role
from market.models import PriceFeed
from miners.models import Miner
from poolhub import settings as hub_settings
from tests.access.everything import one_of_each
from tests.attack.test_text_shown_to_operators import crawl, is_page
from tests.miners.builders import key_of, register
from tests.operators import logged_in, superuser

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("registry"), pytest.mark.once]

FEED_KEY = "sk-of-a-feed-0123456789"


@pytest.fixture(autouse=True)
def filled(registry: object) -> None:
    one_of_each()
    PriceFeed.objects.update(headers={"Authorization": f"Bearer {FEED_KEY}"})


def viewer() -> Client:
    user = User.objects.create_user("viewer", is_staff=True)
    user.groups.add(Group.objects.get(name=Role.VIEWER.value))
    return logged_in(user)


def hidden_fields(model: type[Model]) -> list[str]:
    """Those that no list shows or filters by."""
    page: Any = site._registry[model]
    shown = {each if isinstance(each, str) else each.__name__ for each in page.list_display}
    filters = [each[0] if isinstance(each, tuple) else each for each in page.list_filter]
    shown |= {each if isinstance(each, str) else getattr(each, "parameter_name", "") for each in filters}
    concrete = model._meta.concrete_fields
    return [each.name for each in concrete if not each.is_relation and not each.primary_key and each.name not in shown]


SECRET = {"headers", "api_key_hash", "token", "password", "jwks"}
HIDDEN = [(model, name) for model in site._registry for name in hidden_fields(model)]


def test_there_is_something_to_hide() -> None:
    named = {(model._meta.model_name, name) for model, name in HIDDEN}
    assert {("pricefeed", "headers"), ("miner", "api_key_hash"), ("manifest", "token"), ("user", "password")} <= named


def test_no_list_is_filtered_by_what_it_does_not_show_or_a_viewer_could_guess_it_letter_by_letter() -> None:
    """Miners are listed by the registry, which has filters of its own and drops all others."""
    root = superuser()
    for model, name in HIDDEN:
        address = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        for lookup in ("__startswith", "__gt") if name in SECRET else ("",):
            reply = root.get(f"{address}?{name}{lookup}=1")
            dropped = reply.status_code == 302 and reply.headers["Location"].endswith("?e=1")
            assert reply.status_code == 400 or (model is Miner and dropped), (address, name, lookup)


def test_nor_through_another_list() -> None:
    root = superuser()
    for address in (
        "miners/priceoverride/?miner__api_key_hash__startswith=a", "miners/manifest/?issuer__jwks__icontains=a",
        "market/marketprice/?feed__headers__icontains=a", "miners/priceoverride/?author__password__startswith=a",
        "feedback/feedback/?miner__api_key_hash__startswith=a",
    ):  # fmt: skip
        assert root.get(f"/admin/{address}").status_code == 400, address


def test_what_a_list_shows_may_be_filtered_by() -> None:
    root = superuser()
    pk = Miner.objects.get().pk
    for address in ("miners/priceoverride/?miner__id__exact={}", "miners/minercommand/?miner__id__exact={}",
                    "feedback/feedback/?outcome__exact=completed", "settlement/settlementevent/?state__exact=dead"):  # fmt: skip
        assert root.get(f"/admin/{address.format(pk)}").context["cl"].result_count == 1, address


def test_no_page_of_the_admin_shows_a_secret_to_anybody() -> None:
    token = register("m2")
    told = [FEED_KEY, token, key_of("m2"), hub_settings.SECRET_KEY, hub_settings.API_KEY_PEPPER]
    told += [*hub_settings.COORDINATOR_SHARED_SECRET, *hub_settings.ADMIN_SHARED_SECRET]
    told += [each for each in Miner.objects.values_list("api_key_hash", flat=True) if each]
    told += list(User.objects.exclude(password="").values_list("password", flat=True))
    pages = {path: reply for path, reply in crawl(superuser(), follow=False).items() if is_page(reply)}
    assert len(pages) > 40
    for path, reply in pages.items():
        assert [secret for secret in told if secret in reply.content.decode()] == [], path


@pytest.mark.parametrize(
    "query", ["q=%25'%20OR%201=1--", "o=1'%20--", "p=99999999999999999999", "e=1", "q=%00", "region=%00", "_facets=1",
              "all=", "q=" + "x" * 5000, "%F0%9F=1", "state=nothing", "price=a,b"]
)  # fmt: skip
@pytest.mark.parametrize("model", ["miners/miner", "feedback/feedback", "miners/priceoverride", "access/change"])
def test_no_address_of_a_list_is_an_error_of_the_hub(model, query) -> None:
    assert superuser().get(f"/admin/{model}/?{query}").status_code < 500


def test_an_action_goes_back_to_its_own_list_whatever_the_form_says() -> None:
    sent = {"action": "disable", "_selected_action": Miner.objects.get().pk, "confirmed": "yes", "reason": "x"}
    for filters in ("a=1\r\nSet-Cookie: x=1", "//evil.example", "@evil.example"):
        reply = superuser(secrets.token_hex(4)).post("/admin/miners/miner/", {**sent, "_filters": filters})
        assert reply.headers["Location"].startswith("/admin/miners/miner/?")
        assert not {"\r", "\n"} & set(reply.headers["Location"])
        assert "x" not in reply.cookies


def test_a_login_leads_nowhere_else() -> None:
    User.objects.create_superuser("boss", password="a-long-password-1")
    for there in ("//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "\r\nX: y"):
        sent = {"username": "boss", "password": "a-long-password-1", "next": there}
        assert Client().post("/admin/login/", sent).headers["Location"] == "/admin/"
