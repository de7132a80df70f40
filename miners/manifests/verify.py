"""Whether a manifest is to be believed: bytes in, what it attests or the reason why not out; pure.

Nothing that the token says of its own keys is used (`jwk`, `jku`, `x5c`, `x5u`): the key is the one that its issuer has
here under the name. The issuer is found by an unverified claim, but all else is decided by that issuer's own policy and
keys, so that no issuer can ever speak with the key of another. Source: RFC 7515, 7519, 8725.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, deserialize_compact

from miners.manifests.claims import MISSING, claim_at, requirements_check, values_of
from miners.manifests.keys import ALGORITHMS, BadKeys, Jwk, Key, key_for
from miners.manifests.reasons import Reason, Refused
from miners.manifests.texts import is_safe
from miners.manifests.tokens import MAX_TOKEN, Token, token_read

MAX_TEXT = 255
MAX_TIME = 253_402_300_799  # the end of the year 9999, epoch seconds
UNSUPPORTED = ("crit", "b64", "zip", "enc")  # they change what the rest of a token means


class SubjectForm(StrEnum):
    PLAIN = "plain"  # the claim is the miner's id
    SHA256 = "sha256"  # the claim is the SHA-256 of the miner's id, in hexadecimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one issuer's manifests must be like."""

    issuer: str
    keys: Sequence[Jwk]
    algorithms: Sequence[str]
    audience: str  # "" = none: a token that is meant for some audience is refused
    leeway_s: float  # of the issuer's clock against the hub's
    max_lifetime_s: float
    mapping: Mapping[str, str]  # name of a value -> path of its claim
    required: Mapping[str, Any]  # path of a claim -> value or list of values
    subject_claim: str = "sub"
    subject_form: SubjectForm = SubjectForm.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    issuer: str
    jti: str
    issued_at: float  # epoch seconds
    expires_at: float  # later than issued_at
    values: Mapping[str, Any]


class _Registry(JWSRegistry):
    max_header_length = MAX_TOKEN

    def get_alg(self, name: str) -> Any:
        """EdDSA is the old name of an algorithm that went by two curves, of which one is taken here."""
        return super().get_alg("Ed25519" if name == "EdDSA" else name)


_registry = _Registry(algorithms=[name for name in ALGORITHMS if name != "EdDSA"], strict_check_header=False)


def verify(text: str, policy_of: Callable[[str], Policy | None], *, miner_id: str, now: float) -> Verified:
    """Raises Refused."""
    token = token_read(text)
    algorithm = _algorithm(token)
    policy = policy_of(_text(token, "iss"))
    if policy is None:
        raise Refused(Reason.UNKNOWN_ISSUER, "no issuer of this name (iss) is trusted here")
    if algorithm not in policy.algorithms:
        raise Refused(Reason.WRONG_ALGORITHM, f"its issuer's manifests are not signed with {algorithm}")
    try:
        key = key_for(policy.keys, token.header.get("kid"), algorithm)
    except BadKeys as error:  # the form lets none in
        raise Refused(Reason.UNFIT_KEY, str(error)) from error
    _check_signature(token, key)
    return _accepted(token, policy, miner_id, now)


def _algorithm(token: Token) -> str:
    for name in UNSUPPORTED:
        if name in token.header:
            raise Refused(Reason.UNSUPPORTED_HEADER, f"the header {name} is not supported")
    algorithm = token.header.get("alg")
    if algorithm not in ALGORITHMS:
        raise Refused(Reason.WRONG_ALGORITHM, f"a manifest is signed with one of {', '.join(ALGORITHMS)}")
    return str(algorithm)


def _check_signature(token: Token, key: Key) -> None:
    try:
        deserialize_compact(token.text, key, registry=_registry)
    except (JoseError, ValueError) as error:
        raise Refused(Reason.BAD_SIGNATURE, "the signature is not that of its issuer's key") from error


def _accepted(token: Token, policy: Policy, miner_id: str, now: float) -> Verified:
    _check_subject(token, policy, miner_id)
    _check_audience(token, policy)
    issued_at, expires_at = _time(token, "iat"), _time(token, "exp")
    if expires_at <= issued_at:
        raise Refused(Reason.INVALID_CLAIM, "the claim exp must be later than iat")
    if expires_at <= now:
        raise Refused(Reason.EXPIRED, "it has expired")
    starts_at = _time(token, "nbf") if "nbf" in token.claims else issued_at
    if max(issued_at, starts_at) > now + policy.leeway_s:
        raise Refused(Reason.NOT_YET_VALID, "it is not valid yet; or a clock is wrong, the hub's or its issuer's")
    if expires_at - issued_at > policy.max_lifetime_s:
        raise Refused(Reason.LIFETIME_TOO_LONG, f"its issuer's manifests live for {policy.max_lifetime_s:g} s at most")
    requirements_check(token.claims, policy.required)
    named = "jti" in token.claims
    return Verified(
        issuer=policy.issuer,
        # without a name of its own it goes by what was signed, so that it counts as used all the same
        jti=_text(token, "jti") if named else f"sha256:{hashlib.sha256(token.signed.encode()).hexdigest()}",
        issued_at=issued_at,
        expires_at=expires_at,
        values=values_of(token.claims, policy.mapping),
    )


def _check_subject(token: Token, policy: Policy, miner_id: str) -> None:
    found = claim_at(token.claims, policy.subject_claim)
    if found is MISSING or found is None:
        raise Refused(Reason.MISSING_CLAIM, f"the claim {policy.subject_claim!s:.80} is missing")
    if policy.subject_form is SubjectForm.SHA256:
        wanted = hashlib.sha256(miner_id.encode()).hexdigest()
        found = found.lower() if isinstance(found, str) else found
    else:
        wanted = miner_id
    if found != wanted:
        raise Refused(Reason.FOREIGN_SUBJECT, f"the claim {policy.subject_claim!s:.80} does not name this miner")


def _check_audience(token: Token, policy: Policy) -> None:
    meant = token.claims.get("aud")
    if meant is None and not policy.audience:
        return
    if not policy.audience or policy.audience not in (meant if isinstance(meant, list) else [meant]):
        raise Refused(Reason.FOREIGN_AUDIENCE, "it is meant for somebody else (aud)")


def _text(token: Token, name: str) -> str:
    found = _claim(token, name)
    if not isinstance(found, str) or not 0 < len(found) <= MAX_TEXT or not is_safe(found):
        raise Refused(Reason.INVALID_CLAIM, f"the claim {name} must be a text of 1 to {MAX_TEXT} characters")
    return found


def _time(token: Token, name: str) -> float:
    found = _claim(token, name)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= MAX_TIME:
        raise Refused(Reason.INVALID_CLAIM, f"the claim {name} must be a time in seconds since 1970")
    return float(found)


def _claim(token: Token, name: str) -> Any:
    if token.claims.get(name) is None:
        raise Refused(Reason.MISSING_CLAIM, f"the claim {name} is missing")
    return token.claims[name]
