"""A compact JWS (RFC 7515) taken apart, strictly, before anything of it is believed; pure."""

import json
import math
import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any

from miners.manifests.reasons import Reason, Refused

MAX_TOKEN = 16_384  # characters
COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    header: dict[str, Any]
    claims: dict[str, Any]

    @property
    def signed(self) -> str:
        """What the signature is over."""
        return self.text.rpartition(".")[0]


def token_read(text: str) -> Token:
    if len(text) > MAX_TOKEN:
        raise Refused(Reason.TOO_LONG, f"a manifest has at most {MAX_TOKEN} characters")
    if not COMPACT.fullmatch(text):
        raise Refused(Reason.MALFORMED, "it is no compact JWS: three parts in base64url, with a dot between")
    header, claims, _ = text.split(".")
    return Token(text, _object(header, "header"), _object(claims, "payload"))


def _object(part: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(
            urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode(),
            object_pairs_hook=_once,
            parse_constant=_no_number,
            parse_float=_finite,
        )
        json.dumps(found, ensure_ascii=False).encode()  # half of a pair of surrogates is no text
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.MALFORMED, f"the {name} is not JSON") from error
    if not isinstance(found, dict):
        raise Refused(Reason.MALFORMED, f"the {name} is not a JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refused(Reason.REPEATED_NAME, "an object in it names something twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
