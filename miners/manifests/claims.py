"""What a manifest's claims say of the machine, by the names that the hub has for it; pure.

A path finds a claim: a plain name is one of the top, and what begins with / is a JSON Pointer (RFC 6901). With a #
before it, it counts the members of the object or list that is there.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Struct, structs

from miners.manifests.reasons import Reason, Refused
from miners.manifests.texts import is_safe
from poolhub.common import codec
from poolhub.common.errors import ValidationFailed
from poolhub.common.fields import SAFE, Capabilities, Count, MemoryGB, Region, Tags, Text

MISSING: Any = object()
PATH = re.compile(r"#?(/.*|[^/#].*)")
MAX_PATH = 255
ARRAY_INDEX = re.compile(r"0|[1-9][0-9]{0,5}")


class Values(Struct, kw_only=True, omit_defaults=True):
    """What can be attested, within the bounds that a registration has."""

    gpu_name: Annotated[Text, SAFE] | None = None
    gpu_vram: MemoryGB | None = None
    gpu_count: Count | None = None
    cpu_cores: Count | None = None
    ram_gb: MemoryGB | None = None
    region: Annotated[Region, SAFE] | None = None
    accel: Tags | None = None
    capabilities: Capabilities | None = None


FIELDS = Values.__struct_fields__


def claim_at(claims: Mapping[str, Any], path: str) -> Any:
    """MISSING where there is none."""
    if path.startswith("#"):
        counted = claim_at(claims, path[1:])
        return len(counted) if isinstance(counted, dict | list) else MISSING
    if not path.startswith("/"):
        return claims.get(path, MISSING)
    found: Any = claims
    for step in path[1:].split("/"):
        found = _step(found, step.replace("~1", "/").replace("~0", "~"))
    return found


def _step(found: Any, name: str) -> Any:
    if isinstance(found, dict):
        return found.get(name, MISSING)
    if isinstance(found, list) and ARRAY_INDEX.fullmatch(name) and int(name) < len(found):
        return found[int(name)]
    return MISSING


def values_of(claims: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """The values by the names of Values, those alone that are there. An empty mapping attests none, and is content."""
    named = {name: claim_at(claims, path) for name, path in mapping.items()}
    given = {name: value for name, value in named.items() if value is not MISSING and value is not None}
    if mapping and not given:
        raise Refused(Reason.NO_VALUES, "it says nothing of the machine that its issuer may attest")
    try:
        read = structs.asdict(codec.convert(given, Values))
    except ValidationFailed as error:
        raise Refused(Reason.INVALID_VALUE, error.detail) from error
    values = {name: value for name, value in read.items() if value is not None}
    for name, value in values.items():
        if not all(map(is_safe, _texts(value))):
            raise Refused(Reason.INVALID_VALUE, f"{name}: control and direction characters are not allowed")
        if isinstance(value, list):
            values[name] = list(dict.fromkeys(value))
    return values


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value if isinstance(value, list) else []


def requirements_check(claims: Mapping[str, Any], required: Mapping[str, Any]) -> None:
    """Each claim has the value wanted of it, or one of the values in a list."""
    for path, wanted in required.items():
        found = claim_at(claims, path)
        options = wanted if isinstance(wanted, list) else [wanted]
        if not any(_equal(found, each) for each in options):
            raise Refused(Reason.UNMET_REQUIREMENT, f"the claim {path!s:.80} is not what its issuer's must be")


def _equal(found: Any, wanted: Any) -> bool:
    """Where true is not 1."""
    return isinstance(found, bool) is isinstance(wanted, bool) and bool(found == wanted)
