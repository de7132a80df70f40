"""What operators decide about a miner, for admin and API alike. Each holds in the next match, and is in the log."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction

from access.audit import change_record
from miners import connections
from miners.authentication import key_owners
from miners.models import Miner, MinerStatus, PriceOverride
from miners.profile import exact
from miners.registry import runtime
from miners.services.registration import session_end
from miners.services.rows import changing, miner_lock_known, miner_publish, miner_republish, miner_save
from miners.sessions import hash_api_key, new_api_key, next_session
from miners.standing import overlapping, unseen
from poolhub.common import clock
from poolhub.common.errors import Conflict, FieldError, NotFound, ValidationFailed
from poolhub.common.fields import MAX_PRICE, MINER_ID_PATTERN

if TYPE_CHECKING:
    from django.contrib.auth.models import User

TOLD = ("miner_id", "addr", "gpu_name", "region", "disabled", "price_cap")  # of a miner that is removed
MINER_ID = re.compile(MINER_ID_PATTERN)


def miner_create(*, miner_id: str, profile: Mapping[str, object] | None = None) -> tuple[Miner, str]:
    """A miner for closed enrolment, offline until it registers, and its api key, which is shown this once."""
    if not MINER_ID.match(miner_id):
        raise _invalid("miner_id", "invalid_format", "1 to 64 of A-Z a-z 0-9 . _ : -")
    api_key, at = new_api_key(), clock.to_datetime(clock.now())
    with changing():
        try:
            with transaction.atomic():
                miner = Miner.objects.create(
                    miner_id=miner_id, api_key_hash=hash_api_key(api_key), trust_at=at, created_at=at, **(profile or {})
                )
        except IntegrityError as error:
            if Miner.objects.filter(miner_id=miner_id).exists():
                raise Conflict(f"a miner {miner_id} exists already") from error
            raise
        MinerStatus.objects.create(miner=miner)
        miner_publish(miner)
        change_record(action="added", obj=miner, before={}, after={"miner_id": miner_id, **(profile or {})})
    return miner, api_key


def miner_issue_key(*, miner_id: str) -> str:
    """A new api key, shown this once. The old one ends at once, and the session that was begun with it."""
    api_key = new_api_key()
    with changing():
        miner = miner_lock_known(miner_id)
        transaction.on_commit(partial(key_owners.forget, miner.api_key_hash))
        session = next_session(miner.session, clock.now())
        had = "one" if miner.api_key_hash else "none"
        miner_save(miner, {"api_key_hash": hash_api_key(api_key), "session": session, "logged_out": True})
        session_end(miner)
        change_record(action="key issued", obj=miner, before={"api_key": had}, after={"api_key": "a new one"})
    return api_key


def miner_end_session(*, miner_id: str) -> None:
    """End the miner's session and close its socket; with its key it may register again at once."""
    with changing():
        miner = miner_lock_known(miner_id)
        before = {"logged_out": miner.logged_out}
        miner_save(miner, {"session": next_session(miner.session, clock.now()), "logged_out": True})
        session_end(miner)
        change_record(action="session ended", obj=miner, before=before, after={"logged_out": True})


def miner_disable(*, miner_id: str) -> None:
    """Refuse the miner's key and token until it is enabled again."""
    with changing():
        _decide(miner_id, "disabled", disabled=True)
        transaction.on_commit(partial(connections.end, miner_id, connections.DISABLED))


def miner_enable(*, miner_id: str) -> None:
    with changing():
        _decide(miner_id, "enabled", disabled=False)


def miner_remove(*, miner_id: str) -> None:
    """Delete the miner and everything that hangs on it."""
    with changing():
        miner = miner_lock_known(miner_id)
        transaction.on_commit(partial(runtime.removal_tell, miner_id, miner.pk))
        change_record(action="removed", obj=miner, before={name: getattr(miner, name) for name in TOLD}, after={})
        miner.delete()
        transaction.on_commit(partial(connections.end, miner_id, connections.ENDED))


def miner_set_operator_drain(*, miner_id: str, drain: bool) -> None:
    with changing():
        _decide(miner_id, "drained" if drain else "resumed", operator_drain=drain)


def miner_set_price_cap(*, miner_id: str, price: Decimal | None) -> None:
    """None lifts the cap."""
    with changing():
        action = "price cap lifted" if price is None else "price cap set"
        _decide(miner_id, action, price_cap=None if price is None else exact(price))


def miner_set_tags(*, miner_id: str, tags: Sequence[str]) -> None:
    with changing():
        _decide(miner_id, "tags replaced", tags=list(tags))


def price_override_create(
    *,
    miner_id: str,
    price: Decimal,
    reason: str = "",
    author: "User | None" = None,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    seen: Collection[int] | None = None,
) -> PriceOverride:
    """Of several in force the newest wins, so this one hides those that it overlaps with.

    seen: of those that whoever decides has looked at, the primary keys; with another one, Conflict. None: not asked.
    """
    at = clock.to_datetime(clock.now())
    starts = valid_from or at
    if not (price.is_finite() and 0 <= price <= MAX_PRICE):
        raise _invalid("price", "out_of_range", f"a price is from 0 to {MAX_PRICE}")
    if valid_until is not None and valid_until <= starts:
        raise _invalid("valid_until", "out_of_range", "an override ends after it begins")
    with changing():
        miner = miner_lock_known(miner_id)
        if seen is not None:
            others = unseen(overlapping([miner.pk], starts=starts, ends=valid_until), seen)
            if others:
                number = "another" if len(others) == 1 else f"{len(others)} others"
                raise Conflict(f"it overlaps with {number}, which had not been set when it was looked at")
        override = PriceOverride.objects.create(
            miner=miner, price=exact(price), reason=reason, author=author, valid_from=starts, valid_until=valid_until,
            created_at=at,
        )  # fmt: skip
        miner_republish(miner)
        after = {"price": override.price, "valid_from": starts, "valid_until": valid_until, "reason": reason}
        change_record(action="price override set", obj=override, of=miner, before={}, after=after)
    return override


def price_override_end(*, override: PriceOverride) -> None:
    """End an override now; one that has not begun is deleted, and one that is over stays as it was.

    Raises NotFound where somebody else deleted it first.
    """
    at = clock.to_datetime(clock.now())
    with changing():
        try:
            miner = miner_lock_known(override.miner.miner_id)
            override.refresh_from_db()
        except (PriceOverride.DoesNotExist, Miner.DoesNotExist):
            raise NotFound("this price override is gone") from None
        before = {"price": override.price, "valid_until": override.valid_until}
        if override.valid_from >= at:
            action = "price override deleted, which had not begun"
            change_record(action=action, obj=override, of=miner, before=before, after={})
            override.delete()
        elif override.valid_until is None or override.valid_until > at:
            override.valid_until = at
            override.save(update_fields=["valid_until"])
            after = {**before, "valid_until": at}
            change_record(action="price override ended", obj=override, of=miner, before=before, after=after)
        miner_republish(miner)


def _decide(miner_id: str, action: str, **changes: object) -> None:
    """Write and log what an operator decides; what was so already is no change."""
    miner = miner_lock_known(miner_id)
    before = {name: getattr(miner, name) for name, value in changes.items() if getattr(miner, name) != value}
    miner_save(miner, changes)
    if before:
        change_record(action=action, obj=miner, before=before, after={name: changes[name] for name in before})


def _invalid(field: str, code: str, detail: str) -> ValidationFailed:
    return ValidationFailed(errors=[FieldError(field, code, detail)])
