"""/admin/market/…"""

from decimal import Decimal

import pytest
from django.test import Client

from access.models import Change
from market import chart
from market.models import GpuAlias, MarketMedian, PriceFeed, PriceUnit
from tests.market.builders import PATHS, feed, offer, tell
from tests.operators import messages_of, shows, staff, superuser

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("market")]
FEEDS, UNITS, ALIASES, MEDIANS, PRICES = (
    f"/admin/market/{each}/" for each in ("pricefeed", "priceunit", "gpualias", "marketmedian", "marketprice")
)
KEY = "a-secret-key"
FORM = {
    **PATHS,
    "name": "f",
    "enabled": "on",
    "source": "f.json",
    "interval_s": "600",
    "rows_path": "",
    "new_headers": "",
}


@pytest.fixture
def root() -> Client:
    return superuser()


def test_a_feed_is_set_up_and_fetched(root) -> None:
    reply = root.post(f"{FEEDS}add/", FORM, follow=True)
    assert reply.status_code == 200
    made = PriceFeed.objects.get()
    assert (made.name, made.price_path, made.headers) == ("f", "price", {})
    reply = root.post(FEEDS, {"action": "fetch_now", "_selected_action": made.pk}, follow=True)
    assert messages_of(reply) == ["f: failed: there is no such file below MARKET_FEED_DIR"]
    assert shows(root.get(FEEDS), "fails since")


def test_headers_are_kept_and_shown_by_their_names_alone(root) -> None:
    root.post(f"{FEEDS}add/", {**FORM, "new_headers": f"X-Api-Key: {KEY}\n\nX-Other:  b "})
    made = PriceFeed.objects.get()
    assert made.headers == {"X-Api-Key": KEY, "X-Other": "b"}
    url = f"{FEEDS}{made.pk}/change/"
    page = root.get(url)
    assert shows(page, "X-Api-Key, X-Other")
    assert KEY not in page.content.decode() + root.get(FEEDS).content.decode()
    root.post(url, FORM)
    assert PriceFeed.objects.get().headers == made.headers
    root.post(url, {**FORM, "new_headers": "X-Api-Key: another", "interval_s": "700"})
    assert KEY not in root.get(f"{FEEDS}{made.pk}/history/").content.decode()
    changes = Change.objects.filter(model="market.pricefeed").order_by("id")
    assert [each.action for each in changes] == ["added", "changed"]
    assert changes.last().after == {"interval_s": 700, "headers": ["X-Api-Key"]}
    assert KEY not in str([(each.before, each.after) for each in changes])
    root.post(url, {**FORM, "new_headers": "-"})
    assert PriceFeed.objects.get().headers == {}


@pytest.mark.parametrize(
    "text", [f"X {KEY}", f"Host: {KEY}", f"X-A\x01: {KEY}", f"X-A: {KEY}é", f"Content-Length: {KEY}"]
)
def test_a_header_that_cannot_be_sent_is_refused_without_being_repeated_in_the_error(root, text) -> None:
    reply = root.post(f"{FEEDS}add/", {**FORM, "new_headers": text})
    assert reply.context["adminform"].form.errors == {"new_headers": ["Line 1 is no header that can be sent."]}
    assert not PriceFeed.objects.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("price_path", "a["),
        ("rows_path", "]"),
        ("source", "ftp://h/x"),
        ("interval_s", "59"),
        ("source", ""),
        ("model_path", ""),
    ],
)
def test_a_bad_field_is_refused_beside_it(root, name, value) -> None:
    reply = root.post(f"{FEEDS}add/", {**FORM, name: value})
    assert list(reply.context["adminform"].form.errors) in ([name], ["__all__"])
    assert not PriceFeed.objects.exists()


def test_the_query_of_a_source_is_not_in_the_list(root) -> None:
    feed(source=f"https://h.example/p?key={KEY}")
    page = root.get(FEEDS)
    assert shows(page, "https://h.example/p?…")
    assert KEY not in page.content.decode()


def test_units_and_aliases_go_through_their_services(root) -> None:
    root.post(f"{UNITS}add/", {"name": " EUR/Hour ", "tokens": "2.75", "seconds": "3600"})
    assert PriceUnit.objects.filter(name="eur/hour", seconds=3600).exists()
    root.post(f"{ALIASES}add/", {"name": "Odd GPU", "model": "RTX 4090"})
    assert list(GpuAlias.objects.values_list("name", "model")) == [("odd", "4090")]
    reply = root.post(f"{ALIASES}add/", {"name": "RTX 4090", "model": "4090"})
    assert "both are 4090 already" in str(reply.context["adminform"].form.errors)
    root.post(f"{ALIASES}{GpuAlias.objects.get().pk}/delete/", {"post": "yes"})
    assert not GpuAlias.objects.exists()
    reply = root.post(f"{UNITS}add/", {"name": "usd/hour", "tokens": "1", "seconds": "1"})
    assert "already" in str(reply.context["adminform"].form.errors)


def test_the_market_is_shown_with_a_chart(root, fake_clock) -> None:
    for price in (1, 2, 3):
        tell(offer(price=price), offer(price=price + 1))
        fake_clock.advance(86_400)
    median = MarketMedian.objects.get(region="eu")
    page = root.get(f"{MEDIANS}{median.pk}/change/").content.decode()
    assert page.count("<circle") == 3
    assert "2027-01-16: 2.5 (2.25 to 2.75)" in page
    assert "<svg" in root.get(MEDIANS).content.decode()
    assert shows(root.get(PRICES), "4090")
    assert [each.model for each in root.get(PRICES, {"q": "4090"}).context["cl"].result_list] == ["4090"] * 6


@pytest.mark.pure
def test_a_chart_of_one_day_or_one_price_is_drawn() -> None:
    assert chart.svg([]) == ""
    for points in ([chart.Point(738_000, 1, 1, 1)], [chart.Point(738_000 + day, 0, 0, 0) for day in range(3)]):
        drawn = chart.svg(points)
        assert "nan" not in drawn
        assert drawn.count("<circle") == len(points)


def test_the_market_is_read_only_and_takes_permissions(root) -> None:
    tell(offer())
    median = MarketMedian.objects.first()
    assert root.post(f"{MEDIANS}{median.pk}/change/", {"median": 9}).status_code == 403
    assert root.get(f"{MEDIANS}add/").status_code == 403
    looker = staff("market.view_pricefeed")
    assert looker.post(f"{FEEDS}add/", FORM).status_code == 403


def test_hostile_names_are_escaped(root) -> None:
    feed("<script>alert(1)</script>")
    assert "<script>alert(1)" not in root.get(FEEDS).content.decode()


def test_the_miners_page_shows_the_market(root) -> None:
    from tests.miners.builders import register

    tell(offer(price=1))
    register("m1", gpu_name="RTX 4090", region="eu", price_token_per_ksec=Decimal(5))
    assert shows(root.get("/admin/miners/miner/"), "5.00× median, 100 % not dearer, far too high: bait or a mistake?")
