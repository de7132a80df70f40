"""Price overrides out of the admin as a file, and into it: exact, safe in a spreadsheet, shown before they are set."""

import csv
import io
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisGone

from access.models import Change
from miners.admin import override_resource
from miners.admin.override_files import escaped, header_faults, unescaped
from miners.models import PriceOverride
from miners.services.operators import price_override_create
from poolhub.common import clock
from tests.miners.admin_pages import OVERRIDES
from tests.miners.builders import register, view
from tests.operators import messages_of, shows, staff, superuser

pytestmark = pytest.mark.django_db(transaction=True)
CSV, JSON = "0", "1"
HEAD = "miner_id,price,reason,valid_from,valid_until"


@pytest.fixture
def root() -> Client:
    return superuser()


def export(client: Client, form: str = CSV, **params: str) -> str:
    reply = client.post(f"{OVERRIDES}export/?" + "&".join(f"{k}={v}" for k, v in params.items()), {"format": form})
    assert reply.status_code == 200
    assert "attachment" in reply.headers["Content-Disposition"]
    return reply.content.decode()


def dry_run(client: Client, text: str | bytes, form: str = CSV) -> Any:
    content = text.encode() if isinstance(text, str) else text
    sent = {"import_file": SimpleUploadedFile("overrides", content), "format": form, "resource": "0"}
    return client.post(f"{OVERRIDES}import/", sent)


def confirm(client: Client, asked: Any, **changed: str) -> Any:
    sent = {**asked.context["confirm_form"].initial, **changed}
    return client.post(f"{OVERRIDES}process_import/", sent, follow=True)


def rows(*lines: str) -> str:
    return "\n".join((HEAD, *lines)) + "\n"


def faults(asked: Any) -> str:
    assert "confirm_form" not in asked.context
    assert not PriceOverride.objects.exists()
    return asked.content.decode()


def known() -> list[tuple[Any, ...]]:
    fields = ("miner__miner_id", "price", "reason", "valid_from", "valid_until")
    return list(PriceOverride.objects.order_by("id").values_list(*fields))


# ---- formulas


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "'=1", "''-1"])
def test_what_a_spreadsheet_would_take_for_a_formula_is_written_as_text(cell) -> None:
    assert escaped(cell) == f"'{cell}"
    assert unescaped(escaped(cell)) == cell


@pytest.mark.parametrize("cell", ["", "plain", "0.5", "'quoted'", "a=b", "2026-01-01T00:00:00Z"])
def test_what_is_harmless_stays_as_it_is(cell) -> None:
    assert escaped(cell) == unescaped(cell) == cell


@given(cell=st.text(alphabet="'=+-@\t\r\nax", max_size=8))
def test_every_cell_comes_back_as_it_was(cell) -> None:
    assert unescaped(escaped(cell)) == cell
    assert escaped(cell)[:1] not in set("=+-@\t\r\n")


# ---- out and in again


@pytest.mark.parametrize("form", [CSV, JSON])
def test_what_is_exported_is_the_same_when_it_is_imported(root, time, form) -> None:
    at = clock.to_datetime(time.now())
    for name in ("m1", "m2"):
        register(name)
    price_override_create(
        miner_id="m1", price=Decimal("123456789.12345678"), reason='=HYPERLINK("x"), "é"', valid_from=at
    )
    price_override_create(
        miner_id="m2", price=Decimal("0.00000001"), reason="'-1\tx ", valid_until=at + timedelta(days=1)
    )
    time.advance(0.123456)
    price_override_create(miner_id="m1", price=Decimal(0), reason="@x")
    before = known()
    told = export(root, form)
    asked = dry_run(root, told, form)
    assert [row.import_type for row in asked.context["result"].valid_rows()] == ["skip"] * 3
    PriceOverride.objects.all().delete()
    done = confirm(root, dry_run(root, told, form))
    assert messages_of(done) == ["Import finished: 3 new, 0 updated, 0 deleted and 0 skipped price overrides."]
    assert known() == before


def test_an_export_is_as_the_list_is_filtered_and_says_who_and_how_it_stands(root, time) -> None:
    at = clock.to_datetime(time.now())
    register()
    price_override_create(miner_id="m1", price=Decimal(1), valid_from=at + timedelta(hours=1))
    price_override_create(miner_id="m1", price=Decimal(2), reason="=1+1")
    (row,) = csv.DictReader(io.StringIO(export(root, when="in force")))
    assert (row["miner_id"], row["price"], row["reason"], row["standing"]) == ("m1", "2", "'=1+1", "in force")
    assert json.loads(export(root, JSON, when="future"))[0]["price"] == "1"


@pytest.mark.parametrize("query", ["no=filter", "q=%00", "valid_from__gte=soon"])
def test_an_address_that_is_no_filter_exports_nothing(root, time, query) -> None:
    reply = root.post(f"{OVERRIDES}export/?{query}", {"format": CSV})
    assert (reply.status_code, reply.headers["Location"]) == (302, f"{OVERRIDES}export/")


def test_the_queries_of_an_export_do_not_grow_with_its_rows(root, time) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            export(root)
        return len(captured)

    register()
    price_override_create(miner_id="m1", price=Decimal(1))
    few = queries()
    for _ in range(9):
        price_override_create(miner_id="m1", price=Decimal(1))
    assert queries() == few


# ---- the dry run


def test_a_dry_run_shows_what_it_would_do_and_does_nothing(root, time) -> None:
    register()
    price_override_create(miner_id="m1", price=Decimal("0.5"))
    PriceOverride.objects.update(price=Decimal("0.5"))
    changes, version = Change.objects.count(), view().row.version
    asked = dry_run(root, rows("m1,0.8,why,,2030-01-01T00:00:00Z"))
    (row,) = asked.context["result"].valid_rows()
    assert row.diff[:3] == ["m1", "0.8", "why"]
    assert row.diff[-1] == "Overlaps with 0.5, and hides it."
    assert shows(asked, "1 override to be set")
    assert (PriceOverride.objects.count(), Change.objects.count(), view().row.version) == (1, changes, version)
    assert view().price == 50_000_000


def test_once_confirmed_all_are_set_live_and_in_the_log_with_the_reason(root, time) -> None:
    for name in ("m1", "m2"):
        register(name)
    done = confirm(root, dry_run(root, rows("m1,0.8,a,,", "m2,0.7,b,,")), reason="the spring list")
    assert shows(done, "2 new")
    assert (view("m1").price, view("m2").price) == (80_000_000, 70_000_000)
    made = list(Change.objects.filter(action="price override set").order_by("id"))
    assert [(each.user_name, each.reason, each.after["price"]) for each in made] == [
        ("root", "the spring list", "0.8"), ("root", "the spring list", "0.7"),
    ]  # fmt: skip
    assert {each.author.username for each in PriceOverride.objects.select_related("author")} == {"root"}


def test_a_confirmation_is_good_once_and_in_any_process(root, time) -> None:
    """What was uploaded is in the cache alone; nothing of the process that took it is needed."""
    register()
    asked = dry_run(root, rows("m1,0.8,a,,"))
    name = asked.context["confirm_form"].initial["import_file_name"]
    assert cache.get(f"override-upload-{name}") is not None
    confirm(root, asked)
    assert messages_of(confirm(root, asked)) == [
        "The file is not kept any more: it was imported already, or an hour has passed."
    ]
    assert PriceOverride.objects.count() == 1


def test_while_redis_is_away_an_upload_is_refused_and_said_so(root, time, monkeypatch) -> None:
    register()

    def gone(*args: Any, **options: Any) -> None:
        raise RedisGone

    monkeypatch.setattr(type(cache._connections["default"]), "set", gone)
    reply = dry_run(root, rows("m1,0.8,a,,"))
    assert reply.status_code == 302
    assert shows(root.get(reply.headers["Location"]), "Redis does not answer")


def test_a_conflict_that_comes_after_the_dry_run_stops_all_of_it(root, time) -> None:
    for name in ("m1", "m2"):
        register(name)
    price_override_create(miner_id="m1", price=Decimal("0.1"))
    asked = dry_run(root, rows("m2,0.7,b,,", "m1,0.8,a,,"))
    price_override_create(miner_id="m1", price=Decimal("0.2"))
    done = confirm(root, asked)
    assert any(
        "Row 2: it overlaps with another, which had not been set when it was looked at" in told
        for told in messages_of(done)
    )
    assert [each[1] for each in known()] == [Decimal("0.1"), Decimal("0.2")]
    assert view("m2").price != 70_000_000
    confirm(root, dry_run(root, rows("m2,0.7,b,,", "m1,0.8,a,,")))
    assert view("m1").price == 80_000_000


def test_rows_of_one_file_that_overlap_are_told_and_the_last_one_holds(root, time) -> None:
    register()
    asked = dry_run(root, rows("m1,0.8,a,,", "m1,0.9,b,,"))
    notes = [row.diff[-1] for row in asked.context["result"].valid_rows()]
    assert notes == ["", "Overlaps with 0.8, and hides it."]
    confirm(root, asked)
    assert view().price == 90_000_000


# ---- what is refused


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("miner_id,cost\nm1,1\n", "There is no column price."),
        (f"{HEAD},valid_untl\nm1,1,,,,x\n", "The column valid_untl is unknown."),
        ("miner_id,price,price\nm1,1,2\n", "The column price is there twice."),
        (rows("nobody,1,,,"), "Row 1, miner_id: There is no such miner."),
        (rows("m1,1,,,", "m1,cheap,,,"), "Row 2, price: Enter a number."),
        (rows("m1,-1,,,"), "Row 1, price"), (rows("m1,NaN,,,"), "Row 1, price"), (rows("m1,1e99,,,"), "Row 1, price"),
        (rows("m1,0.123456789,,,"), "Row 1, price"), (rows("m1,,,,"), "Row 1, price: This field is required."),
        (rows("m1,1,,soon,"), "Row 1, valid_from"), (rows("m1,1,,,2020-01-01"), "Row 1, valid_until"),
        (rows(f"m1,1,{'r' * 201},,"), "Row 1, reason"), (rows("m1,1,a\x00b,,"), "Row 1, reason"),
        (rows("m\x001,1,,,"), "Row 1, miner_id"), (rows("m1,1,,,,,,,"), "encountered while trying to read file"),
        (b"\xff\xfe\x00", "encountered while trying to read file"), ("", "The submitted file is empty."),
        (f"{HEAD}\n", "No valid data to import."),
    ],
)  # fmt: skip
def test_a_file_that_makes_no_sense_is_refused_with_row_and_column(root, time, text, told) -> None:
    register()
    assert told in faults(dry_run(root, text)).replace("&#x27;", "'")


@pytest.mark.parametrize(
    "text", ["{", "3", "[1]", "[" * 5000, '{"miner_id": "m1"}', '[{"miner_id": "m1", "price": {"a": 1}}]', "[]"]
)
def test_json_that_is_no_list_of_overrides_is_refused(root, time, text) -> None:
    register()
    faults(dry_run(root, text, JSON))


def test_json_takes_rows_in_any_order_and_numbers_as_they_are_written(root, time) -> None:
    register()
    text = '[{"price": 0.10000001, "miner_id": "m1"}, {"miner_id": "m1", "price": 3, "reason": null}]'
    confirm(root, dry_run(root, text, JSON))
    assert [each[1] for each in known()] == [Decimal("0.10000001"), Decimal(3)]


def test_one_bad_row_keeps_all_others_from_being_set(root, time) -> None:
    register()
    assert "Row 2" in faults(dry_run(root, rows("m1,1,,,", "nobody,1,,,")))


def test_too_many_rows_are_refused(root, time, monkeypatch) -> None:
    register()
    monkeypatch.setattr(override_resource, "MAX_ROWS", 2)
    assert "at most 2 are imported at once" in faults(dry_run(root, rows(*["m1,1,,,"] * 3)))


def test_a_confirmation_of_something_else_is_refused(root, time) -> None:
    register()
    asked = dry_run(root, rows("m1,0.8,a,,"))
    for changed in (
        {"import_file_name": "../../etc/passwd"},
        {"format": "9"},
        {"format": "x"},
        {"import_file_name": ""},
    ):
        assert confirm(root, asked, **changed).status_code == 200
    assert root.get(f"{OVERRIDES}process_import/").status_code == 405
    assert not PriceOverride.objects.exists()


def test_what_strangers_wrote_in_a_file_is_escaped(root, time) -> None:
    register()
    attack = "<script>alert(1)</script>"
    for text in (rows(f"m1,1,{attack},,"), rows(f"{attack},1,,,"), f"{HEAD},{attack}\nm1,1,,,,\n"):
        assert attack not in dry_run(root, text).content.decode()


def test_faults_of_headers_are_all_told_at_once() -> None:
    assert header_faults(["price", "x", "x"], ["miner_id", "price"]) == [
        "There is no column miner_id.", "The column x is unknown.", "The column x is there twice.",
    ]  # fmt: skip


# ---- who may


def test_an_import_takes_the_permission_to_add_and_an_export_to_view(time) -> None:
    register()
    asked = dry_run(superuser(), rows("m1,0.8,a,,"))
    viewer = staff("miners.view_priceoverride")
    assert dry_run(viewer, rows("m1,1,,,")).status_code == 403
    assert viewer.get(f"{OVERRIDES}import/").status_code == 403
    assert confirm(viewer, asked).status_code == 403
    assert "miner_id" in export(viewer)
    assert f"{OVERRIDES}import/" not in viewer.get(OVERRIDES).content.decode()
    adder = staff("miners.add_priceoverride", name="adder")
    assert adder.post(f"{OVERRIDES}export/", {"format": CSV}).status_code == 403
    assert not PriceOverride.objects.exists()
