"""What operators decide, through the services that the admin and the API share."""

from datetime import timedelta
from decimal import Decimal

import pytest

from miners.models import Miner, MinerStatus, PriceOverride
from miners.registry.loader import miner_row
from miners.services.evidence import miner_record_evidence
from miners.services.operators import (
    miner_create,
    miner_disable,
    miner_enable,
    miner_end_session,
    miner_issue_key,
    miner_remove,
    miner_set_operator_drain,
    miner_set_price_cap,
    price_override_create,
    price_override_end,
)
from miners.services.rows import changing, miner_lock_known
from miners.sessions import hash_api_key
from poolhub.common import clock
from poolhub.common.errors import Conflict, NotFound, ValidationFailed
from tests.miners.builders import register, stored, view

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_created_miner_has_a_key_and_is_offline() -> None:
    miner, key = miner_create(miner_id="m1", profile={"region": "eu"})
    assert miner.api_key_hash == hash_api_key(key)
    assert (view().state, view().row.region, MinerStatus.objects.get().last_seen) == ("offline", "eu", None)


@pytest.mark.parametrize("miner_id", ["", "a b", "x" * 65, "a\n", "é"])
def test_no_miner_is_created_with_such_an_id(miner_id) -> None:
    with pytest.raises(ValidationFailed):
        miner_create(miner_id=miner_id)


def test_no_miner_is_created_twice() -> None:
    register()
    before = Miner.objects.values().get()
    with pytest.raises(Conflict):
        miner_create(miner_id="m1")
    assert Miner.objects.values().get() == before


def test_a_new_key_takes_the_miner_out_until_it_is_used() -> None:
    register()
    key = miner_issue_key(miner_id="m1")
    assert (view().state, stored().api_key_hash) == ("offline", hash_api_key(key))
    register(key=key)
    assert view().state == "online"


def test_disable_and_enable() -> None:
    register()
    miner_disable(miner_id="m1")
    assert (view().state, stored().disabled) == ("disabled", True)
    miner_disable(miner_id="m1")
    miner_enable(miner_id="m1")
    assert (view().state, stored().disabled) == ("online", False)


def test_a_removed_miner_is_gone_everywhere(registry) -> None:
    register()
    price_override_create(miner_id="m1", price=Decimal(1))
    miner_remove(miner_id="m1")
    assert len(registry) == 0
    assert [model.objects.count() for model in (Miner, MinerStatus, PriceOverride)] == [0, 0, 0]


@pytest.mark.parametrize(
    "act",
    [
        lambda: miner_disable(miner_id="nobody"),
        lambda: miner_end_session(miner_id="nobody"),
        lambda: miner_enable(miner_id="nobody"),
        lambda: miner_issue_key(miner_id="nobody"),
        lambda: miner_remove(miner_id="nobody"),
        lambda: miner_set_operator_drain(miner_id="nobody", drain=True),
        lambda: miner_set_price_cap(miner_id="nobody", price=None),
        lambda: price_override_create(miner_id="nobody", price=Decimal(1)),
    ],
)
def test_an_unknown_miner_is_not_found(act) -> None:
    with pytest.raises(NotFound):
        act()


def test_the_newest_override_in_force_wins(time) -> None:
    register(price_token_per_ksec=Decimal("0.9"))
    at = clock.to_datetime(time.now())
    price_override_create(miner_id="m1", price=Decimal("0.5"))
    assert (view().price, view().price_source) == (50_000_000, "override")
    price_override_create(
        miner_id="m1",
        price=Decimal("0.6"),
        valid_from=at + timedelta(seconds=10),
        valid_until=at + timedelta(seconds=20),
    )
    assert view().price == 50_000_000
    time.advance(10)
    assert view().price == 60_000_000
    time.advance(10)
    assert view().price == 50_000_000


def test_an_override_that_is_ended_no_longer_holds(time) -> None:
    register(price_token_per_ksec=Decimal("0.9"))
    override = price_override_create(miner_id="m1", price=Decimal("0.5"), reason="a campaign")
    time.advance(5)
    price_override_end(override=override)
    assert (view().price, view().price_source) == (90_000_000, "own")
    assert PriceOverride.objects.get().valid_until == clock.to_datetime(time.now())
    time.advance(5)
    price_override_end(override=override)
    assert PriceOverride.objects.get().valid_until == clock.to_datetime(time.now() - 5)


def test_an_override_that_has_not_begun_is_deleted(time) -> None:
    register()
    later = clock.to_datetime(time.now() + 60)
    override = price_override_create(miner_id="m1", price=Decimal("0.5"), valid_from=later)
    price_override_end(override=override)
    assert not PriceOverride.objects.exists()
    assert view().row.overrides == ()


def test_an_override_that_somebody_else_deleted_is_not_found(time) -> None:
    register()
    later = clock.to_datetime(time.now() + 60)
    override = price_override_create(miner_id="m1", price=Decimal("0.5"), valid_from=later)
    same = PriceOverride.objects.get()
    price_override_end(override=override)
    with pytest.raises(NotFound):
        price_override_end(override=same)


def test_overrides_that_can_never_win_again_are_left_out(time) -> None:
    register()
    at = clock.to_datetime(time.now())
    price_override_create(miner_id="m1", price=Decimal(1), valid_from=at + timedelta(days=1))
    price_override_create(miner_id="m1", price=Decimal(2))
    price_override_create(miner_id="m1", price=Decimal(3), valid_until=at + timedelta(days=2))
    assert [window.price for window in view().row.overrides] == [300_000_000, 200_000_000]


@pytest.mark.parametrize("price", ["-1", "NaN", "Infinity", "1000000001"])
def test_no_override_has_such_a_price(price) -> None:
    register()
    with pytest.raises(ValidationFailed):
        price_override_create(miner_id="m1", price=Decimal(price))


def test_no_override_ends_before_it_begins(time) -> None:
    register()
    with pytest.raises(ValidationFailed):
        price_override_create(miner_id="m1", price=Decimal(1), valid_until=clock.to_datetime(time.now()))


def test_evidence_is_durable_and_in_the_registry(time) -> None:
    register()
    for latency in (100.0, 200.0, 600.0):
        with changing():
            miner = miner_lock_known("m1")
            miner_record_evidence(
                miner=miner, trust_s=miner.trust_s + 1, trust_f=0.5, trust_at=time.now(), latency_ms=latency
            )
    miner = stored()
    assert (miner.trust_s, miner.trust_f, miner.latency_count) == (3, 0.5, 3)
    assert miner.latency_mean == pytest.approx(300)  # (100 + 200 + 600) / 3
    assert view().trust == pytest.approx(5 / 7.5)  # (2 + 3) / (4 + 3 + 0.5)
    assert view().row == miner_row(miner)


def test_a_change_that_is_rolled_back_never_reaches_the_registry() -> None:
    register()
    before = view().row
    with pytest.raises(RuntimeError), changing():  # noqa: PT012 - what is raised must end the transaction
        miner_set_operator_drain(miner_id="m1", drain=True)
        raise RuntimeError
    assert view().row == before
