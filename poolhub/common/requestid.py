"""The X-Request-ID of one request: the caller's where it is sane, else a new one."""

import re
from random import getrandbits
from typing import Any

HEADER = "X-Request-ID"
BITS = 128  # drawn without asking the kernel: an id tells requests apart and guards nothing

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def request_id_from(given: str | None) -> str:
    return given if given and _SANE.fullmatch(given) else f"{getrandbits(BITS):032x}"


def request_id_of(request: Any) -> str:
    """Of a Django or DRF request. One that met no middleware gets its id here, once."""
    found: str | None = getattr(request, "request_id", None)
    if found is None:
        found = request_id_from(request.META.get("HTTP_X_REQUEST_ID"))
        request.request_id = found
    return found
