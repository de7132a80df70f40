"""The list of miners: filters, search and order by what matching sees, and what a page asks of the database."""

from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from miners.admin import acting
from miners.models import Miner
from miners.registry import runtime
from miners.registry.records import Report, State
from miners.services.evidence import miner_record_evidence
from miners.services.operators import miner_create, miner_disable, miner_set_price_cap
from tests.miners.admin_pages import MINERS, ids
from tests.miners.builders import register, view
from tests.operators import messages_of, shows, superuser

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def root() -> Client:
    return superuser()


def trusted(miner_id: str, **counts: float) -> None:
    miner_record_evidence(miner_id=miner_id, **counts)


@pytest.fixture
def fleet(registry, time) -> None:
    register(
        "m1", region="eu", gpu_name="H100", capabilities=["llama"], price_token_per_ksec=Decimal(3), max_parallel=4
    )
    register("m2", region="us", gpu_name="RTX 4090", price_token_per_ksec=Decimal(1), max_parallel=2)
    register("m3", region="eu", gpu_name="H100", price_token_per_ksec=Decimal(2), max_parallel=1)
    miner_set_price_cap(miner_id="m1", price=Decimal("0.5"))
    Miner.objects.filter(miner_id="m2").update(trust_s=6)
    runtime.get_registry().upsert(row_with("m2", trust_s=6.0), now=time.now())
    registry.report("m1", Report(at=time.now(), queue_len=3, temp_c=80.0))
    registry.report("m2", Report(at=time.now() + 1, queue_len=2, temp_c=60.0))
    registry.report("m3", Report(at=time.now() + 2))
    time.advance(2)


def row_with(miner_id: str, **changes: object):
    from dataclasses import replace

    row = view(miner_id).row
    return replace(row, version=row.version + 1, **changes)


@pytest.mark.parametrize(
    ("params", "want"),
    [
        ({"gpu": "H100"}, ["m1", "m3"]),
        ({"capability": "llama"}, ["m1"]),
        ({"capability": "lla"}, []),
        ({"price_from": "1"}, ["m2", "m3"]),  # effective: the cap of m1 counts
        ({"price_from": "0.5", "price_to": "1"}, ["m1", "m2"]),
        ({"price_to": "0.49"}, []),
        ({"trust_from": "0.51"}, ["m2"]),
        ({"trust_to": "0.5"}, ["m1", "m3"]),
        ({"region": "eu", "price_from": "1"}, ["m3"]),
        ({"q": "4090"}, ["m2"]),
        ({"q": " EU "}, ["m1", "m3"]),
        ({"q": "10.1.2.3"}, ["m1", "m2", "m3"]),
        ({"q": "eu", "gpu": "RTX 4090"}, []),
        ({"q": "nobody"}, []),
        ({"price_from": "cheap", "trust_to": "nan", "proto": "x", "state": "x", "gpu": "", "capability": " "},
         ["m1", "m2", "m3"]),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("fleet")
def test_miners_are_filtered_by_what_matching_sees(root, params, want) -> None:
    assert ids(root, **params) == want


@pytest.mark.parametrize(
    ("column", "want"),
    [
        (0, ["m1", "m2", "m3"]),
        (1, ["m3", "m1", "m2"]),  # m3 is disabled, which comes first
        (2, ["m1", "m2", "m3"]),  # last contact
        (3, ["m1", "m2", "m3"]),  # GPU: no order of its own
        (5, ["m3", "m1", "m2"]),  # 0/1, 3/4, 2/2
        (6, ["m2", "m1", "m3"]),  # 60 °C, 80 °C, unknown
        (7, ["m1", "m2", "m3"]),  # 0.5 (cap), 1, 2
        (8, ["m1", "m2", "m3"]),  # against the market: no order of its own
        (9, ["m1", "m3", "m2"]),
        (99, ["m1", "m2", "m3"]),
    ],
)
@pytest.mark.usefixtures("fleet")
def test_miners_are_ordered_by_a_column(root, column, want) -> None:
    miner_disable(miner_id="m3")
    assert ids(root, o=str(column + 1)) == want  # the first column is the box to tick
    known = want[:-1] if column == 6 else want
    by_id = column in (3, 8, 99)
    assert ids(root, o=f"-{column + 1}")[: len(known)] == (want if by_id else equal_by_id(root, known, column))


def equal_by_id(root: Client, known: list[str], column: int) -> list[str]:
    """Backwards, but miners that are equal stay in the order of their ids."""
    equal = {1: ["m1", "m2", "m3"], 9: ["m2", "m1", "m3"]}
    return equal.get(column, known[::-1])


@pytest.mark.parametrize("order", ["x", "-", "1.2.3", "-99", "\u0661"])
@pytest.mark.usefixtures("fleet")
def test_an_order_that_makes_no_sense_is_no_error(root, order) -> None:
    assert sorted(ids(root, o=order)) == ["m1", "m2", "m3"]


def test_the_columns_show_what_matching_sees(root, registry, time, fleet) -> None:
    reply = root.get(MINERS, {"q": "m1"})
    assert all(shows(reply, text) for text in ("2 s ago", "H100", "eu", "3/4", "80 °C", "0.5 (cap)", "0.500"))


def test_a_page_costs_the_same_queries_however_many_miners_there_are(root) -> None:
    """Session, user, and the miners of the page: nothing counts them, and no row asks for itself."""

    def queries(**params: str) -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            root.get(MINERS, params)
        return [each["sql"] for each in captured]

    register("m00")
    few = queries()
    for i in range(1, 70):
        register(f"m{i:02}", region="eu", gpu_name=f"GPU {i % 9}")
    for params in ({}, {"p": "2"}, {"q": "m"}, {"state": "online", "o": "-8"}, {"region": "eu", "gpu": "GPU 3"}):
        asked = queries(**params)
        assert len(asked) == len(few) == 3
        assert not any("COUNT(" in sql for sql in asked)


def test_a_page_reads_no_more_of_a_miner_than_it_shows(root) -> None:
    register()
    with CaptureQueriesContext(connection) as captured:
        root.get(MINERS)
    of_miners = next(each["sql"] for each in captured if "miners_miner" in each["sql"])
    assert not any(f'"{name}"' in of_miners for name in ("capabilities", "tags", "api_key_hash", "addr"))


def test_pages_hold_all_miners_once(root) -> None:
    for i in range(120):
        register(f"m{i:03}")
    pages = [ids(root, p=str(page)) for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [50, 50, 20]
    together = [each for page in pages for each in page]
    assert together == [f"m{i:03}" for i in range(120)]
    assert ids(root, all="") == together
    assert root.get(MINERS, {"p": "9"}).headers["Location"].endswith("?e=1")


@pytest.mark.parametrize("params", [{"miner_id__exact": "m1"}, {"x": "1"}])
def test_what_is_no_filter_is_refused(root, params) -> None:
    register()
    reply = root.get(MINERS, params)
    assert (reply.status_code, reply.headers["Location"]) == (302, f"{MINERS}?e=1")


@pytest.mark.parametrize("name", ["disabled__exact", "api_key_hash__startswith"])
def test_nor_may_it_be_filtered_by_what_it_does_not_show(root, name) -> None:
    assert root.get(MINERS, {name: "1"}).status_code == 400


def test_a_miner_that_is_gone_leaves_a_gap_and_no_error(root) -> None:
    register("m1")
    register("m2")
    Miner.objects.filter(miner_id="m1").delete()  # and the registry has yet to hear of it
    assert ids(root) == ["m2"]


# ---- actions on the list


def test_all_of_a_filtered_list_can_be_chosen_and_only_that(root) -> None:
    for i in range(60):
        register(f"m{i:02}", region="eu" if i < 55 else "us")
    sent = {"action": "drain", "select_across": "1", "_selected_action": Miner.objects.first().pk}
    done = root.post(f"{MINERS}?region=eu", sent, follow=True)
    assert messages_of(done) == ["55 miners drained."]
    assert {view(f"m{i:02}").state for i in range(55, 60)} == {State.ONLINE}


def test_more_than_one_request_can_do_are_refused_whole(root, monkeypatch) -> None:
    monkeypatch.setattr(acting, "MAX_ACTED", 2)
    for i in range(4):
        register(f"m{i}")
    sent = {"action": "drain", "select_across": "1", "_selected_action": Miner.objects.first().pk}
    assert messages_of(root.post(MINERS, sent, follow=True)) == ["At most 2 miners at once; nothing was done."]
    assert not Miner.objects.filter(operator_drain=True).exists()


def test_a_miner_that_is_ticked_is_found_though_the_filter_no_longer_lets_it_in(root) -> None:
    register("m1")
    sent = {"action": "drain", "_selected_action": Miner.objects.get().pk}
    assert messages_of(root.post(f"{MINERS}?state=offline", sent, follow=True)) == ["1 miner drained."]


# ---- choosing a miner elsewhere


def test_a_field_that_chooses_a_miner_searches_the_same_way(root) -> None:
    miner_create(miner_id="m1", profile={"gpu_name": "H100"})
    miner_create(miner_id="other")
    asked = {"app_label": "miners", "model_name": "priceoverride", "field_name": "miner", "term": "h100"}
    found = root.get("/admin/autocomplete/", asked).json()["results"]
    assert [each["text"] for each in found] == ["m1"]
