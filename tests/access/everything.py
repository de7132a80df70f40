"""One object of every model of the admin, and the whole database to compare with."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from axes.models import AccessAttempt
from django.apps import apps
from django.contrib.admin import site
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.utils import timezone

from feedback.models import Feedback
from market.models import MarketMedian, MarketPrice, PriceFeed
from market.services.feeds import feed_save
from market.services.operators import alias_save, unit_save
from matching.models import MatchRecord
from miners.choices import CommandName
from miners.models import Manifest, ManifestIssuer
from miners.regions.table import round_trip_set
from miners.services.commands import command_args, command_create
from miners.services.operators import miner_create, price_override_create
from settlement.choices import State
from settlement.models import (
    EvmAccount,
    EvmTransaction,
    EvmTransfer,
    SettlementEvent,
    SettlementPause,
    SettlementReplay,
)

UNTOLD = {"sessions.session"}  # a login or a message moves it


def one_of_each() -> None:
    miner, _ = miner_create(miner_id="m1", profile={"region": "eu", "gpu_name": "H100"})
    price_override_create(miner_id="m1", price=Decimal("0.5"), reason="a campaign")
    command_create(miner_id="m1", name=CommandName.DRAIN, args=command_args(CommandName.DRAIN, {}))
    made = ManifestIssuer.objects.create(
        name="an issuer",
        issuer="https://issuer.example",
        jwks_url="https://issuer.example/keys",
        fetch_due_at=timezone.now(),
    )
    at = timezone.now()
    Manifest.objects.create(
        miner=miner, issuer=made, jti="j1", token="a.b.c", issued_at=at, expires_at=at + timedelta(hours=1)
    )
    MatchRecord.objects.create(job_id="j1", latency_ms=1)
    Feedback.objects.create(job_id="j1", miner=miner, outcome="completed")
    round_trip_set(region="eu", other="us", operator_ms=80.0)
    settlement_objects()
    market_objects()
    Group.objects.create(name="night shift")
    User.objects.create_user("somebody")
    AccessAttempt.objects.create(
        username="x", ip_address="203.0.113.7", user_agent="x", http_accept="x", path_info="/", failures_since_start=9,
        get_data="", post_data="",
    )  # fmt: skip
    missing = [model._meta.label for model in site._registry if not model._base_manager.exists()]
    assert missing == [], "a model that is new in the admin needs an object here, or these tests would not see it"


def settlement_objects() -> None:
    at = datetime(2026, 11, 25, tzinfo=UTC)
    event = SettlementEvent.objects.create(
        job_id="j1", miner_id="m1", tokens_spent=Decimal("0.25"), completed_at=at, body="{}", state=State.DEAD
    )
    SettlementReplay.objects.create(event=event, attempts=1)
    account = EvmAccount.objects.create(chain_id=1, address="0x" + "1" * 40)
    transfer = EvmTransfer.objects.create(
        event=event, account=account, nonce=0, token="0x" + "2" * 40, recipient="0x" + "3" * 40, units="1", gas=1
    )
    EvmTransaction.objects.create(transfer=transfer, hash="0x" + "4" * 64, raw="0x", most_fee=10**9, tip_fee=10**8)
    SettlementPause.objects.create(target="https://pay.example.com/", reason="the receiver answered 410")


def market_objects() -> None:
    """A feed that cannot be read, so that nothing leaves the machine."""
    unit_save(name="usd/hour", tokens=Decimal("2.5"), seconds=3600)
    alias_save(name="odd name", model="4090")
    feed = PriceFeed(name="f", source="nowhere.json", model_path="gpu", price_path="price", unit_path="'usd/hour'")
    feed_save(feed)
    at = datetime(2026, 11, 25, tzinfo=UTC)
    MarketPrice.objects.create(feed=feed, batch=1, model="4090", price=Decimal(1), as_of=at)
    spread = dict.fromkeys(("low", "q1", "median", "q3", "high"), Decimal(1))
    MarketMedian.objects.create(model="4090", region="*", count=1, as_of=at, **spread)


def an_object(model: type[Model]) -> Any:
    """Not one of the hub's own roles, which nobody changes, nor whoever is logged in."""
    if model is Group:
        return Group.objects.get(name="night shift")
    if model is User:
        return User.objects.get(username="somebody")
    return model._base_manager.first()


def database() -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for model in apps.get_models(include_auto_created=True):
        if model._meta.managed and model._meta.label_lower not in UNTOLD:
            rows = list(model._base_manager.order_by("pk").values())
            for row in rows:
                row.pop("last_login", None)
            found[model._meta.label_lower] = rows
    return found
