"""Manifests as an issuer makes them, for trying one out; pure. A real issuer keeps its key elsewhere."""

import json
from collections.abc import Mapping
from typing import Any

from joserfc.jws import JWSRegistry, serialize_compact

from miners.manifests.keys import CURVES, KEYS, BadKeys, Key, fits, key_import

SIGNERS = tuple(name for name in CURVES if name != "EdDSA")  # its new name is Ed25519

_registry = JWSRegistry(algorithms=SIGNERS)


def key_make(algorithm: str) -> Key:
    kind, curve = CURVES[algorithm]
    made: Key = KEYS[kind].generate_key(curve)  # type: ignore[arg-type]
    made.ensure_kid()
    return made


def algorithm_of(key: Key) -> str:
    return next(name for name in SIGNERS if CURVES[name] == (key.key_type, key.curve_name))


def key_text(key: Key) -> str:
    """With its private part."""
    return json.dumps(key.as_dict(private=True), indent=2) + "\n"


def key_read(text: str) -> Key:
    """Raises BadKeys, which repeats nothing of it."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadKeys("It is not JSON.") from error
    if not isinstance(found, dict) or "d" not in found or not any(fits(found, name) for name in SIGNERS):
        raise BadKeys(f"It is no private key (JWK) for {', '.join(SIGNERS)}.")
    made = key_import(found)
    made.ensure_kid()
    return made


def key_set(key: Key) -> dict[str, Any]:
    """What the hub is given: the public part alone."""
    return {"keys": [key.as_dict(private=False)]}


def manifest_sign(claims: Mapping[str, Any], key: Key) -> str:
    header = {"alg": algorithm_of(key), "kid": str(key.kid), "typ": "JWT"}
    return serialize_compact(header, json.dumps(claims), key, registry=_registry)
