"""Issuers of tests, their keys, and what they sign."""

import base64
import json
from functools import cache
from typing import Any

from joserfc.jwk import ECKey, OctKey, OKPKey
from joserfc.jws import JWSRegistry

from miners.manifests.claims import FIELDS
from miners.manifests.keys import ALGORITHMS, Key
from miners.manifests.verify import Policy

NOW = 1_800_000_000.0
ISSUER = "https://issuer.example"
CURVES = {"ES256": "P-256", "ES384": "P-384", "EdDSA": "Ed25519", "Ed25519": "Ed25519"}


def key(algorithm: str = "ES256", kid: str = "k1") -> Any:
    """The same one each time."""
    return _key(algorithm, kid)


@cache
def _key(algorithm: str, kid: str) -> Any:
    if algorithm.startswith("HS"):
        return OctKey.generate_key(256, parameters={"kid": kid})
    kind = ECKey if algorithm.startswith("ES") else OKPKey
    return kind.generate_key(CURVES[algorithm], parameters={"kid": kid})


def public(*keys: Key) -> list[dict[str, Any]]:
    return [dict(each.as_dict(private=False)) for each in keys]


def jwks(*keys: Key) -> dict[str, Any]:
    return {"keys": public(*(keys or (key(),)))}


def claims(miner_id: str = "m1", *, now: float = NOW, **changes: Any) -> dict[str, Any]:
    """None takes a claim out."""
    found = {
        "iss": ISSUER, "sub": miner_id, "jti": "j1", "iat": now, "exp": now + 3600, "gpu_name": "NVIDIA H100",
        "gpu_vram": 80, **changes,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload: Any, *, by: Any = None, algorithm: str = "ES256", **header: Any) -> str:
    """payload and a header given whole may be bytes. None takes a header out."""
    by = by or key(algorithm)
    named = {"alg": algorithm, "kid": by.kid, "typ": "JWT", **header}
    return signed_raw({name: value for name, value in named.items() if value is not None}, payload, by, algorithm)


def signed_raw(header: Any, payload: Any, by: Any, algorithm: str) -> str:
    text = f"{part(header)}.{part(payload)}"
    if algorithm == "none":
        return f"{text}."
    model = JWSRegistry.algorithms["Ed25519" if algorithm == "EdDSA" else algorithm]
    return f"{text}.{part(model.sign(text.encode(), by))}"


def policy(*keys: Key, **changes: Any) -> Policy:
    return Policy(
        **{
            "issuer": ISSUER, "keys": public(*(keys or (key(),))), "algorithms": ALGORITHMS, "audience": "",
            "leeway_s": 60, "max_lifetime_s": 86_400, "mapping": {name: name for name in FIELDS}, "required": {}, **changes,
        }
    )  # fmt: skip
