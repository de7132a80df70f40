"""Sets of public keys (JWK Set, RFC 7517), and which key of one a token names; pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from joserfc.jwk import ECKey, OKPKey

from miners.manifests.reasons import Reason, Refused
from miners.manifests.texts import is_safe

Jwk = Mapping[str, Any]
Key = ECKey | OKPKey

ALGORITHMS = ("EdDSA", "Ed25519", "ES256", "ES384")  # RFC 9864 calls Ed25519 what was EdDSA; both are in use
ED25519 = ("OKP", "Ed25519")
CURVES = {"ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "EdDSA": ED25519, "Ed25519": ED25519}
KEYS: dict[str, type[ECKey] | type[OKPKey]] = {"EC": ECKey, "OKP": OKPKey}
SECRET = ("d", "k", "p", "q", "dp", "dq", "qi", "oth")  # members of private and of symmetric keys
KEPT = ("kty", "crv", "x", "y", "kid", "alg")
MAX_KEYS = 50
MAX_KID = 255


class BadKeys(ValueError):
    """The text says which key is at fault, and repeats nothing of a private one."""


def public_keys(jwks: object) -> list[dict[str, Any]]:
    """The keys of a set that can verify manifests, as KEPT. Others (RSA, for encryption) are passed over.

    Raises BadKeys where it is no set of keys, holds a private or symmetric key, a broken one, a name twice, or none of
    use.
    """
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS or not all(isinstance(each, dict) for each in keys):
        raise BadKeys(f'It must be a JWK Set, {{"keys": [...]}}, of at most {MAX_KEYS} keys.')
    for number, key in enumerate(keys):
        if key.get("kty") == "oct" or any(name in key for name in SECRET):
            raise BadKeys(f"Key {number} is private or symmetric: only public keys belong here. Take it out of use.")
    usable = [{name: key[name] for name in KEPT if name in key} for key in keys if _is_usable(key)]
    for key in usable:
        key_import(key)
    names = [key.get("kid") for key in usable]
    if len(set(names)) < len(names):
        raise BadKeys("Two keys have the same kid, or none.")
    if not usable:
        raise BadKeys(f"It holds no key for {', '.join(ALGORITHMS)}.")
    return usable


def key_import(key: Jwk) -> Key:
    """Without what it says of its algorithm, which is for `fits` to look at."""
    try:
        return KEYS[key["kty"]].import_key({name: value for name, value in key.items() if name != "alg"})
    except Exception as error:  # the library's own, cryptography's and Python's, depending on what is broken
        raise BadKeys(f"The key {key.get('kid', 'without a kid')!s:.80} is broken: {error}") from error


def key_for(keys: Sequence[Jwk], kid: object, algorithm: str) -> Key:
    """The key that a token names; without a name, the one there is. Raises Refused."""
    if kid is None:
        named = list(keys)
        if len(named) > 1:
            raise Refused(Reason.AMBIGUOUS_KEY, "the token names no key (kid), and its issuer has several")
    else:
        named = [key for key in keys if key.get("kid") == kid]
    if not named:
        raise Refused(Reason.UNKNOWN_KEY, "its issuer has no key of this name (kid)")
    if not fits(named[0], algorithm):
        raise Refused(Reason.UNFIT_KEY, f"the key that the token names is not one for {algorithm}")
    return key_import(named[0])


def fits(key: Jwk, algorithm: str) -> bool:
    """Whether a key is of the algorithm's kind, and meant for it where it says so."""
    meant = key.get("alg", algorithm)
    same = isinstance(meant, str) and meant in CURVES and CURVES[meant] == CURVES[algorithm]
    return same and CURVES[algorithm] == (key.get("kty"), key.get("crv"))


def _is_usable(key: Jwk) -> bool:
    kid, use, operations = key.get("kid"), key.get("use", "sig"), key.get("key_ops", ["verify"])
    named = kid is None or (isinstance(kid, str) and 0 < len(kid) <= MAX_KID and is_safe(kid))
    meant = use == "sig" and isinstance(operations, list) and "verify" in operations
    return named and meant and any(fits(key, algorithm) for algorithm in ALGORITHMS)
