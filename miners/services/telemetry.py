"""What miners say of themselves while their session lives: reports, profile changes, renewals."""

from collections.abc import Mapping
from dataclasses import dataclass

from structlog.contextvars import bind_contextvars

from miners.authentication import Session, Standing, disabled, key_owners, require_live, standing, wrong_key
from miners.regions.probes import probes
from miners.registry.records import Report
from miners.registry.runtime import get_registry
from miners.services.registration import miner_revive, session_lock
from miners.services.rows import changing, miner_save


@dataclass(frozen=True, slots=True)
class Lease:
    state: str
    expires_at: float  # epoch seconds


def miner_update(*, session: Session, report: Report, changes: Mapping[str, object]) -> Lease:
    """Apply what an update names: the durable part committed first, then the live part. Live data alone touches no
    database. Raises Unauthorized or Forbidden, having changed nothing, where the session has ended meanwhile."""
    if changes:
        with changing():
            miner_save(session_lock(session), changes)
    return _contact(session, report)


def miner_heartbeat(
    *, session: Session, report: Report, changes: Mapping[str, object], probed: Mapping[str, float] | None = None
) -> Lease:
    """probed: round-trip times, ms, by region."""
    lease = miner_update(session=session, report=report, changes=changes)
    probes.take(session.miner_id, probed, now=report.at)
    return lease


def miner_heartbeat_by_key(
    *,
    api_key: str,
    named: str | None,
    report: Report,
    changes: Mapping[str, object],
    probed: Mapping[str, float] | None = None,
) -> Lease:
    """As miner_heartbeat, for the miner that the key belongs to; brings it back where it is offline."""
    now = report.at
    miner_id = key_owners.find(api_key, named, now=now)
    registry = get_registry()
    number = None if miner_id is None else registry.session_of(miner_id)
    if miner_id is None or number is None:
        raise wrong_key()
    bind_contextvars(miner_id=miner_id)
    session = Session(miner_id, number)
    found = standing(registry, session, now=now)
    if found is Standing.DISABLED:
        raise disabled()
    if found is not Standing.LIVE:
        session = miner_revive(miner_id=miner_id, api_key=api_key, now=now)
    return miner_heartbeat(session=session, report=report, changes=changes, probed=probed)


def lease_renew(*, session: Session, now: float) -> Lease:
    return _contact(session, Report(at=now))


def socket_report_apply(session: Session, report: Report) -> Standing:
    """A heartbeat from a socket: applied where the session lives, and nothing raised, for it may be the ten
    thousandth of this second."""
    registry = get_registry()
    with registry.lock:
        found = standing(registry, session, now=report.at)
        if found is Standing.LIVE:
            registry.report(session.miner_id, report)
        return found


def _contact(session: Session, report: Report) -> Lease:
    registry = get_registry()
    with registry.lock:  # a logout or new registration comes before this or after it, never between its two steps
        require_live(standing(registry, session, now=report.at))
        registry.report(session.miner_id, report)
        view = registry.get(session.miner_id, now=report.at)
    assert view is not None
    return Lease(view.state, view.lease_expires_at)
