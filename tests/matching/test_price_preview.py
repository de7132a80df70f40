"""What a price would change in recent matches: counted exactly, and nothing changed by looking."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from matching.models import MatchRecord
from matching.price_preview import Example, price_preview
from matching.records import records
from miners.registry.records import PriceSource, PriceWindow
from tests.matching.builders import match, own, pool, tokens
from tests.operators import staff, superuser

pytestmark = pytest.mark.django_db(transaction=True)

CHEAPEST = {"weights": {"price": 1}, "max_price": 1}


def asked(client: Any, **body: Any) -> None:
    for number in range(4):
        match(client, f"j{number}", hints=CHEAPEST, **body)
    records.flush()


def counts(preview: Any) -> tuple[int, ...]:
    return (
        preview.looked_at, preview.first_changes, preview.offered_changes, preview.first_before, preview.first_after,
        preview.offered_before, preview.offered_after,
    )  # fmt: skip


def test_a_lower_price_makes_a_miner_first_in_every_match(client) -> None:
    pool("m1", "m2", "m3", max_parallel=50)  # 0.1, 0.2, 0.3
    asked(client, top_k=2)
    preview = price_preview(miner_ids=["m3"], price=Decimal("0.05"))
    assert counts(preview) == (4, 4, 4, 0, 4, 0, 4)
    assert preview.examples[0] == Example("j3", "m1", "m3")


def test_a_price_above_every_limit_takes_a_miner_out(client) -> None:
    pool("m1", "m2", max_parallel=50)
    asked(client, top_k=5)
    preview = price_preview(miner_ids=["m1"], price=Decimal(2))
    assert counts(preview) == (4, 4, 4, 4, 0, 4, 0)
    assert {each.after for each in preview.examples} == {"m2"}


def test_a_price_that_changes_no_order_changes_nothing(client) -> None:
    pool("m1", "m2", max_parallel=50)
    asked(client, top_k=5)
    preview = price_preview(miner_ids=["m2"], price=Decimal("0.15"))
    assert counts(preview) == (4, 0, 0, 0, 0, 4, 4)


def test_a_cap_holds_in_the_preview_too(client) -> None:
    pool("m1", max_parallel=50, price_cap=tokens(0.5))
    asked(client)
    assert price_preview(miner_ids=["m1"], price=Decimal(2)).first_after == 4


def test_looking_changes_nothing_that_a_match_would_see(client, registry, fake_clock) -> None:
    pool("m1", "m2", "m3", max_parallel=50)
    before = match(client, "again", top_k=3, dry_run=True)
    columns = {name: getattr(registry.columns, name).copy() for name in ("price", "u_price", "f_price", "price_source")}
    asked(client)
    held = own("m1")
    price_preview(miner_ids=["m1", "m2", "gone"], price=Decimal("0.7"))
    assert match(client, "again", top_k=3, dry_run=True)["candidates"][0]["price"] == before["candidates"][0]["price"]
    assert own("m1") == held
    for name, values in columns.items():
        assert np.array_equal(getattr(registry.columns, name), values)


def test_a_supposed_price_is_undone_even_when_the_ranking_fails(registry, fake_clock) -> None:
    pool("m1")
    slots = np.array([registry.slots["m1"]])

    def fails() -> None:
        with registry.lock, registry.prices.supposed(slots, tokens(5)):
            assert registry.get("m1", now=fake_clock.now()).price_source is PriceSource.OVERRIDE
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    found = registry.get("m1", now=fake_clock.now())
    assert (found.price, found.price_source) == (tokens(0.1), PriceSource.OWN)


def test_a_supposed_price_is_what_an_override_really_makes(client, registry, fake_clock) -> None:
    """Ranked with the override in force, the matches are as the preview said."""
    pool("m1", "m2", "m3", max_parallel=50)
    asked(client, top_k=2)
    said = price_preview(miner_ids=["m2"], price=Decimal("0.01"))
    window = PriceWindow(tokens(0.01), fake_clock.now() - 1, float("inf"))
    from tests.matching.builders import add

    add("m2", price=tokens(0.2), max_parallel=50, overrides=(window,))
    really = price_preview(miner_ids=["m2"], price=Decimal("0.01"))
    assert (said.first_after, said.offered_after) == (really.first_before, really.offered_before) == (4, 4)


def test_the_last_matches_are_looked_at_with_one_query_and_odd_ones_are_told(client) -> None:
    pool("m1", max_parallel=50)
    asked(client)
    MatchRecord.objects.create(job_id="odd", latency_ms=1, request={"job_id": "odd", "requirements": {"charm": 3}})
    with CaptureQueriesContext(connection) as captured:
        preview = price_preview(miner_ids=["m1"], price=Decimal(1), matches=3)
    assert (preview.looked_at, preview.unreadable) == (2, 1)
    assert len(captured) == 1


def test_the_page_that_asks_shows_it_to_those_who_may_see_matches(registry, client, fake_clock) -> None:
    from miners.services.operators import miner_create

    made, _ = miner_create(miner_id="m1", profile={"price": Decimal("0.5")})
    sent = {"action": "set_price_override", "_selected_action": made.pk, "preview": "yes", "price": "0.3"}
    assert "What it would change" in superuser().post("/admin/miners/miner/", sent).content.decode()
    blind = staff("miners.view_miner", "miners.add_priceoverride")
    assert "What it would change" not in blind.post("/admin/miners/miner/", sent).content.decode()
