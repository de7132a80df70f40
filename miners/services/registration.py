"""First contact, leaving, and new keys: everything that begins or ends a miner's session."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from django.conf import settings
from django.db import IntegrityError, transaction

from miners import connections
from miners.authentication import Session, disabled, ended, key_owners, wrong_key
from miners.models import Miner, MinerStatus
from miners.services.rows import changing, miner_lock, miner_publish, miner_save
from miners.sessions import hash_api_key, key_matches, next_session, token_issue
from poolhub.common import clock

logger = logging.getLogger(__name__)

FRESH_STATUS = {
    "ts": None, "queue_len": 0, "busy": False, "jobs": 0, "latency_ms": None, "temp_c": None, "mem_free_gb": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Registered:
    created: bool
    token: str


def miner_register(*, miner_id: str, api_key: str, profile: Mapping[str, object], now: float) -> Registered:
    """Begin a session with this profile. The first key seen with an id owns it, where enrolment is open.

    Raises Unauthorized for another key, or an unknown miner where enrolment is closed; Forbidden for a disabled one.
    """
    given = hash_api_key(api_key)
    with changing():
        miner, created = miner_lock(miner_id), False
        if miner is None:
            miner, created = _enrol(miner_id, given, profile, now)
        if not created:
            _begin_again(miner, given, profile, now)
        transaction.on_commit(partial(key_owners.forget, given))
    level = logging.INFO if created else logging.DEBUG  # one that comes back is no event
    logger.log(level, "miner %s registered%s", miner_id, " for the first time" if created else "")
    return Registered(created, token_issue(miner_id, miner.session))


def miner_logout(*, session: Session, now: float) -> None:
    """Take the miner out of matching and end its token, before this returns."""
    with changing():
        miner = session_lock(session)
        miner_save(miner, {"session": next_session(miner.session, now), "logged_out": True})
        session_end(miner)


def miner_revive(*, miner_id: str, api_key: str, now: float) -> Session:
    """Bring an offline miner back by its key; its old token stays dead."""
    with changing():
        miner = miner_lock(miner_id)
        if miner is None or not key_matches(hash_api_key(api_key), miner.api_key_hash):
            raise wrong_key()
        if miner.disabled:
            raise disabled()
        miner_save(miner, {"session": next_session(miner.session, now), "logged_out": False}, last_seen=now)
        session_end(miner)
    return Session(miner_id, miner.session)


def session_lock(session: Session) -> Miner:
    """The locked row of the miner whose session this is; Unauthorized where it has ended meanwhile."""
    miner = miner_lock(session.miner_id)
    if miner is None or miner.session != session.number:
        raise ended()
    if miner.disabled:
        raise disabled()
    return miner


def session_end(miner: Miner, code: int = connections.ENDED) -> None:
    """After commit, close the sockets of every earlier session of the miner."""
    transaction.on_commit(partial(connections.end, miner.miner_id, code, before=miner.session))


def _enrol(miner_id: str, api_key_hash: str, profile: Mapping[str, object], now: float) -> tuple[Miner, bool]:
    if settings.ENROLLMENT != "open":
        raise wrong_key()
    at = clock.to_datetime(now)
    try:
        with transaction.atomic():
            miner = Miner.objects.create(
                miner_id=miner_id, api_key_hash=api_key_hash, session=next_session(0, now), trust_at=at, created_at=at,
                registered_at=at, **profile,
            )  # fmt: skip
    except IntegrityError:
        # somebody registered the same id between our look and our insert: the database let one of us win
        winner = miner_lock(miner_id)
        if winner is None:
            raise
        return winner, False
    MinerStatus.objects.create(miner=miner, last_seen=at, **FRESH_STATUS)
    miner_publish(miner, last_seen=now)
    return miner, True


def _begin_again(miner: Miner, given: str, profile: Mapping[str, object], now: float) -> None:
    if not key_matches(given, miner.api_key_hash):
        raise wrong_key()
    if miner.disabled:
        raise disabled()
    at = clock.to_datetime(now)
    fresh = {"session": next_session(miner.session, now), "logged_out": False, "draining": False, "registered_at": at}
    miner_save(miner, {**profile, **fresh}, last_seen=now)
    MinerStatus.objects.update_or_create(miner=miner, defaults={**FRESH_STATUS, "last_seen": at})
    session_end(miner)
