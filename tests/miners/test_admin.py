"""/admin/miners/: lists and pages, whom they let in, and what strangers write on them."""

from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from miners.admin.filters import MAX_NAMES
from miners.models import Miner, MinerCommand, MinerStatus, PriceOverride
from miners.registry import runtime
from miners.registry.records import Report, State
from miners.services.operators import (
    miner_create,
    miner_disable,
    miner_set_operator_drain,
    miner_set_price_cap,
    price_override_create,
)
from tests.miners.admin_pages import COMMANDS, MINERS, OVERRIDES, STATUSES, everything, ids, page
from tests.miners.builders import register, stored, view
from tests.operators import shows, staff, superuser

pytestmark = pytest.mark.django_db(transaction=True)


LISTS = [MINERS, STATUSES, OVERRIDES, COMMANDS]


@pytest.fixture
def root() -> Client:
    return superuser()


# ---- lists and pages


@pytest.mark.parametrize("url", LISTS)
@pytest.mark.parametrize(
    "params", [{}, {"q": "m1"}, {"q": "nobody"}, {"q": "\x00"}, {"o": "1"}, {"p": "9999"}, {"q": "m1 é"}]
)
def test_lists_answer(root, url, params) -> None:
    everything()
    assert root.get(url, params, follow=True).status_code == 200


@pytest.mark.parametrize(
    ("url", "params", "number"),
    [
        (STATUSES, {"q": "m1"}, 1), (STATUSES, {"busy__exact": "1"}, 0), (OVERRIDES, {"q": "campaign"}, 1),
        (OVERRIDES, {"q": "m1"}, 1), (OVERRIDES, {"when": "in force"}, 1), (OVERRIDES, {"when": "future"}, 0),
        (OVERRIDES, {"when": "past"}, 0), (COMMANDS, {"status__exact": "pending"}, 1), (COMMANDS, {"q": "m1"}, 1),
        (COMMANDS, {"name__exact": "drain"}, 0), (COMMANDS, {"q": "nobody"}, 0),
    ],
)  # fmt: skip
def test_lists_are_searched_and_filtered(root, url, params, number) -> None:
    everything()
    assert len(root.get(url, params).context["cl"].result_list) == number


def test_pages_answer(root) -> None:
    everything()
    for made in (stored(), MinerStatus.objects.get(), PriceOverride.objects.get(), MinerCommand.objects.get()):
        for view_name in ("change", "history"):
            url = reverse(f"admin:miners_{made._meta.model_name}_{view_name}", args=[made.pk])
            assert root.get(url).status_code == 200
    for model in ("miner", "priceoverride", "minercommand"):
        assert root.get(reverse(f"admin:miners_{model}_add")).status_code == 200


def test_the_command_page_shows_its_arguments_indented(root) -> None:
    everything()
    reply = root.get(reverse("admin:miners_minercommand_change", args=[MinerCommand.objects.get().pk]))
    assert shows(reply, '{\n  "tags": [\n    "gold"\n  ]\n}')


def test_the_list_shows_what_matching_sees(root, registry, time) -> None:
    register("m1", region="eu", gpu_name="H100", price_token_per_ksec=Decimal("0.9"), max_parallel=4)
    price_override_create(miner_id="m1", price=Decimal("0.75"))
    registry.report("m1", Report(at=time.now(), queue_len=3))
    reply = root.get(MINERS)
    for text in ("online", "3/4", "0.75 (override)", "0.500", "H100"):
        assert shows(reply, text)
    time.advance(61)
    assert shows(root.get(MINERS), "degraded")


def test_the_page_shows_what_matching_sees(root, registry, time) -> None:
    register("m1", price_token_per_ksec=Decimal("0.9"), max_parallel=4)
    miner_set_price_cap(miner_id="m1", price=Decimal("0.2"))
    registry.report("m1", Report(at=time.now(), queue_len=3, latency_ms=40, temp_c=61, mem_free_gb=7.5, busy=True))
    reply = root.get(page())
    for text in ("0.2 (cap)", "3/4", "3 queued, 0 running, busy, 40 ms, 61 °C, 7.5 GB free", "0.500"):
        assert shows(reply, text)


def test_neither_key_hash_nor_session_is_shown(root) -> None:
    register()
    miner = stored()
    assert not shows(root.get(page()), miner.api_key_hash)
    assert not shows(root.get(page()), str(miner.session))


def test_the_queries_of_the_list_do_not_grow_with_its_rows(root) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            root.get(MINERS)
        return len(captured)

    register("m00")
    few = queries()
    for i in range(1, 20):
        register(f"m{i:02}")
    assert len(ids(root)) == 20
    assert queries() == few


def test_filters_and_search_of_miners(root, time) -> None:
    register("m1", region="eu", gpu_name="RTX 4090", proto="grpc")
    register("m2", region="us", gpu_name="H100")
    assert ids(root, region="eu") == ids(root, proto="grpc") == ids(root, q="rtx") == ["m1"]
    assert ids(root, q="M2") == ["m2"]
    assert ids(root, region="nowhere") == []
    assert ids(root, state="no such state") == ["m1", "m2"]


def test_the_state_filter_agrees_with_the_registry(root, time) -> None:
    register("gone")
    time.advance(100)
    register("late")
    register("off")
    miner_disable(miner_id="off")
    time.advance(70)
    register("here")
    register("drained")
    miner_set_operator_drain(miner_id="drained", drain=True)
    miner_create(miner_id="never")
    runtime.flush()
    for state in State:
        of_state = ids(root, state=state.value)
        assert of_state == [name for name in ids(root) if view(name).state is state]
        assert of_state


def test_the_region_filter_offers_the_regions_with_the_most_miners(root) -> None:
    for i in range(MAX_NAMES + 5):
        register(f"r{i}", region=f"region-{i:02}")
    for name in ("a", "b"):
        register(name, region="zone\u200b")
    found = root.get(MINERS).context["cl"].filter_specs[1].lookup_choices
    assert len(found) == MAX_NAMES
    assert found[-1] == ("zone\u200b", "zone\\u200b (2)")


def test_what_is_filtered_by_stays_on_the_page_though_few_have_it(root) -> None:
    for i in range(MAX_NAMES + 5):
        register(f"r{i}", region=f"region-{i:02}")
        register(f"s{i}", region="many")
    found = root.get(MINERS, {"region": f"region-{MAX_NAMES + 4}"}).context["cl"].filter_specs[1].lookup_choices
    assert f"region-{MAX_NAMES + 4}" in dict(found)


# ---- hostile text


def test_what_a_miner_calls_itself_is_escaped(root) -> None:
    attack = "<script>alert(1)</script>"
    register(gpu_name=attack, region=attack, tags=[attack], capabilities=[attack], wallet_address=attack)
    Miner.objects.update(addr=attack)
    price_override_create(miner_id="m1", price=Decimal(1), reason=attack)
    override = reverse("admin:miners_priceoverride_change", args=[PriceOverride.objects.get().pk])
    for url in (MINERS, page(), OVERRIDES, override, f"{MINERS}?q={attack}", f"{MINERS}?region={attack}"):
        reply = root.get(url)
        assert shows(reply, attack)
        assert attack not in reply.content.decode()


def test_characters_that_hide_are_shown_as_codes(root) -> None:
    register("m1")
    Miner.objects.update(gpu_name="RTX\u202e0904", addr="10.0.0.1\u200b:1")
    for url in (MINERS, page()):
        reply = root.get(url)
        assert shows(reply, "RTX\\u202e0904")
        assert "\u202e" not in reply.content.decode()
    assert "\u200b" not in root.get(page()).content.decode()


@pytest.mark.parametrize(
    "path", ["minerstatus/_00/change/", "miner/_00/change/", "miner/x/change/", "minercommand/x/change/"]
)
def test_a_page_of_nothing_is_no_error(root, path) -> None:
    assert root.get(f"/admin/miners/{path}", follow=True).status_code == 200


# ---- who may


@pytest.mark.parametrize("permission", ["miners.view_miner", "miners.add_miner"])
def test_without_the_permission_to_change_a_miner_cannot_be_changed(permission) -> None:
    register()
    client = staff(permission)
    assert client.post(page(), {"disabled": "on"}).status_code == 403
    assert client.post(page(of="delete"), {"post": "yes"}).status_code == 403
    assert view().state is State.ONLINE


def test_with_the_permission_to_view_the_page_is_there_and_has_nothing_to_press() -> None:
    register(tags=["t"])
    reply = staff("miners.view_miner").get(page())
    assert shows(reply, "m1")
    assert reply.context["page_actions"] == []
    assert not reply.context["has_change_permission"]


def test_without_login_there_is_nothing(client) -> None:
    register()
    for url in (MINERS, page(), f"{MINERS}add/"):
        assert client.get(url).headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize(
    ("url", "sent"),
    [("add/", {}), ("m1/change/", {"queue_len": "5"}), ("m1/delete/", {"post": "yes"})],
)
def test_statuses_are_read_only(root, url, sent) -> None:
    register()
    before = MinerStatus.objects.values().get()
    assert root.post(STATUSES + url, sent).status_code == 403
    assert MinerStatus.objects.values().get() == before


@pytest.mark.parametrize("url", ["change/", "delete/"])
def test_a_command_that_was_sent_stays_as_it_is(root, url) -> None:
    everything()
    before = MinerCommand.objects.values().get()
    reply = root.post(f"{COMMANDS}{before['id']}/{url}", {"status": "acked", "post": "yes"})
    assert reply.status_code == 403
    assert MinerCommand.objects.values().get() == before
