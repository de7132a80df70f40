"""Manifests: believed, replaced by newer ones, and revoked. Each holds in the next match, in every process.

What was accepted stays in the database until long after its time, so that no token is ever of use twice.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max, Q

from access.audit import change_record
from miners.authentication import Session
from miners.choices import ManifestEnd
from miners.manifests import verify
from miners.manifests.reasons import Reason, Refused
from miners.models import Manifest, ManifestIssuer, Miner
from miners.services.issuers import keys_want
from miners.services.registration import session_lock
from miners.services.rows import changing, miner_lock_known, miner_republish
from poolhub.common import clock
from poolhub.common.errors import Conflict, FieldError, NotFound, ValidationFailed
from poolhub.common.metrics import MANIFESTS

logger = logging.getLogger(__name__)

KEEP = timedelta(days=30)  # after their time is over
PURGE_COUNT = 1000
REVOKE_COUNT = 500  # of one issuer in one request


@dataclass(frozen=True, slots=True)
class Accepted:
    issuer: str
    jti: str
    values: Mapping[str, Any]
    expires_at: float  # epoch seconds
    repeated: bool = False  # it was in force already


def manifest_accept(*, session: Session, token: str, now: float) -> Accepted:
    """Attest the miner as its manifest says, until that expires. The one in force, sent again, changes nothing.

    Raises ValidationFailed, whose code is the reason, having changed nothing; Unauthorized or Forbidden where the
    session has ended meanwhile.
    """
    try:
        accepted = _accept(session, token, now)
    except Refused as refused:
        MANIFESTS.labels(outcome=refused.reason.value).inc()
        logger.info("manifest of %s refused, %s: %s", session.miner_id, refused.reason, refused.detail)
        raise ValidationFailed(errors=[FieldError("manifest", refused.reason.value, refused.detail)]) from refused
    MANIFESTS.labels(outcome="repeated" if accepted.repeated else "accepted").inc()
    return accepted


def manifest_try(*, issuer: ManifestIssuer, token: str, miner_id: str, now: float) -> verify.Verified:
    """What the issuer's policy makes of a token, whether it is enabled or not. Raises Refused; changes nothing."""
    return verify.verify(
        token, lambda name: policy_of(issuer) if name == issuer.issuer else None, miner_id=miner_id, now=now
    )


def manifest_revoke(*, manifest: Manifest) -> None:
    """End an attestation before its time. Raises Conflict where it has ended, NotFound where its miner is gone."""
    now = clock.now()
    if manifest.miner is None:
        raise NotFound("the miner of this manifest is gone")
    with changing():
        miner = miner_lock_known(manifest.miner.miner_id)
        manifest.refresh_from_db()
        if manifest.ended_at is not None or manifest.expires_at.timestamp() <= now:
            raise Conflict("it is not in force any more")
        manifest.ended_at, manifest.ended_by = clock.to_datetime(now), ManifestEnd.REVOKED
        manifest.save(update_fields=["ended_at", "ended_by"])
        miner_republish(miner)
        before = {"expires_at": manifest.expires_at, "values": manifest.values}
        change_record(action="manifest revoked", obj=manifest, of=miner, before=before, after={})


def manifests_revoke_of(*, issuer: ManifestIssuer) -> tuple[int, int]:
    """Revoke REVOKE_COUNT of an issuer's manifests in force; how many were revoked, and how many are left."""
    found = Manifest.objects.filter(in_force(), issuer=issuer)
    revoked = 0
    for manifest in found.select_related("miner", "issuer").order_by("pk")[:REVOKE_COUNT]:
        try:
            manifest_revoke(manifest=manifest)
        except (Conflict, NotFound) as error:
            logger.debug("%s: %s", manifest, error)  # it ended by itself meanwhile
        else:
            revoked += 1
    return revoked, found.count()


def in_force() -> Q:
    """The manifests that attest their miners now."""
    return Q(miner__isnull=False, ended_at=None, expires_at__gt=clock.to_datetime(clock.now()))


def manifests_purge() -> int:
    """Delete those whose time has been over for long, in short transactions; how many."""
    oldest = clock.to_datetime(clock.now()) - KEEP
    deleted = 0
    while True:
        chunk = list(Manifest.objects.filter(expires_at__lt=oldest).values_list("pk", flat=True)[:PURGE_COUNT])
        if not chunk:
            return deleted
        deleted += Manifest.objects.filter(pk__in=chunk).delete()[0]


def policy_of(issuer: ManifestIssuer) -> verify.Policy:
    return verify.Policy(
        issuer=issuer.issuer,
        keys=issuer.jwks.get("keys", []),
        algorithms=issuer.algorithms,
        audience=issuer.audience,
        leeway_s=issuer.leeway_s,
        max_lifetime_s=issuer.max_lifetime_s,
        mapping=issuer.mapping,
        required=issuer.required,
        subject_claim=issuer.subject_claim,
        subject_form=verify.SubjectForm(issuer.subject_form),
    )


def _accept(session: Session, token: str, now: float) -> Accepted:
    named: list[ManifestIssuer] = []

    def policy_for(name: str) -> verify.Policy | None:
        named.extend(ManifestIssuer.objects.filter(issuer=name, enabled=True))
        return policy_of(named[0]) if named else None

    try:
        verified = verify.verify(token, policy_for, miner_id=session.miner_id, now=now)
    except Refused as refused:
        if refused.reason is Reason.UNKNOWN_KEY:
            keys_want(issuer=named[0], now=now)  # it may be a new one
        raise
    issuer = named[0]
    with changing():
        miner = session_lock(session)
        used = Manifest.objects.filter(issuer=issuer, jti=verified.jti).first()
        if used is not None:
            return _again(used, miner, issuer, token)
        _keep(miner, issuer, verified, token, now)
        miner_republish(miner)
    return Accepted(issuer.name, verified.jti, verified.values, verified.expires_at)


def _again(used: Manifest, miner: Miner, issuer: ManifestIssuer, token: str) -> Accepted:
    if used.miner_id == miner.pk and used.token == token:
        if used.ended_by == ManifestEnd.REVOKED:
            raise Refused(Reason.REVOKED, "an operator has revoked it")
        if used.ended_at is None:
            return Accepted(issuer.name, used.jti, used.values, used.expires_at.timestamp(), repeated=True)
    raise Refused(Reason.REPLAYED, "its jti was used before")


def _keep(miner: Miner, issuer: ManifestIssuer, verified: verify.Verified, token: str, now: float) -> None:
    at, issued_at = clock.to_datetime(now), clock.to_datetime(verified.issued_at)
    newest = Manifest.objects.filter(miner=miner).aggregate(at=Max("issued_at"))["at"]
    if newest is not None and newest > issued_at:
        raise Refused(Reason.OLDER, "this miner has sent a newer one before")
    Manifest.objects.filter(miner=miner, ended_at=None).update(ended_at=at, ended_by=ManifestEnd.REPLACED)
    try:
        with transaction.atomic():
            Manifest.objects.create(
                miner=miner, issuer=issuer, jti=verified.jti, token=token, values=dict(verified.values),
                issued_at=issued_at, expires_at=clock.to_datetime(verified.expires_at), received_at=at,
            )  # fmt: skip
    except IntegrityError as error:  # another miner was quicker: the database let one of them use it
        raise Refused(Reason.REPLAYED, "its jti was used before") from error
    # Whoever disables the issuer waits for this lock: whom it no longer vouches for is known once that is done.
    locked = ManifestIssuer.objects.select_for_update(no_key=True).filter(pk=issuer.pk, enabled=True)
    if locked.first() is None:
        raise Refused(Reason.UNKNOWN_ISSUER, "no issuer of this name (iss) is trusted here")
