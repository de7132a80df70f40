"""msgspec structs in drf-spectacular's OpenAPI.

``@extend_schema(request=body(X), responses={200: answer(Y), **PROBLEMS(401)})``
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from poolhub.common.fields import schema_hook

REF = "#/components/schemas/{name}"

NO_NUL = r"^[^\x00]*$"

S = TypeVar("S", bound=type[msgspec.Struct])

_structs: set[type[msgspec.Struct]] = set()
_requests: set[type[msgspec.Struct]] = set()
_optional: set[str] = set()
_more: dict[str, dict[str, Any]] = {}


class ProblemError(msgspec.Struct):
    field: str
    code: str
    detail: str


class Problem(msgspec.Struct):
    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[ProblemError] = []


def body(struct: type[msgspec.Struct], *, required: bool = True) -> dict[str, Any]:
    """Not required: the struct is used for no body but such as may be left out."""
    told = reference(struct)
    _requests.add(struct)
    if not required:
        _optional.add(told["$ref"])
    return {"application/json": told}


def is_required(ref: str) -> bool:
    return ref not in _optional


def answer(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return reference(struct)


def PROBLEMS(*statuses: int) -> dict[Any, Any]:  # noqa: N802 - stands among the constants of a decorator
    return {(status, "application/problem+json"): reference(Problem) for status in statuses}


def reference(struct: type[msgspec.Struct]) -> dict[str, Any]:
    _structs.add(struct)
    return ref(struct)


def ref(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {"$ref": REF.format(name=struct.__name__)}


def also(*uses: type[msgspec.Struct], **told: Any) -> Callable[[S], S]:
    """Adds to a request's schema what its types cannot say; ``uses`` are what that refers to."""

    def add(struct: S) -> S:
        _structs.update(uses)
        _requests.update(uses)
        _more[struct.__name__] = told
        return struct

    return add


def components() -> dict[str, Any]:
    """The schemas of every struct that a view named, and of what they contain."""
    schemas = _schemas_of(_structs)
    for name in _schemas_of(_requests):
        _tell_as_read(schemas[name])
    return {name: {**schema, **_more.get(name, {})} for name, schema in schemas.items()}


def _schemas_of(structs: set[type[msgspec.Struct]]) -> dict[str, Any]:
    kinds = sorted(structs, key=lambda struct: struct.__name__)
    _, schemas = msgspec.json.schema_components(kinds, schema_hook=schema_hook, ref_template=REF)
    return schemas


def _tell_as_read(struct: dict[str, Any]) -> None:
    """In a request null counts as left out, and no text may hold a NUL: see ``codec``."""
    for name, value in struct["properties"].items():
        _forbid_nul(value)
        if name not in struct.get("required", []) and {"type": "null"} not in value.get("anyOf", []):
            default = {"default": value.pop("default")} if "default" in value else {}
            struct["properties"][name] = {"anyOf": [value, {"type": "null"}], **default}


def _forbid_nul(value: Any) -> None:
    if isinstance(value, list):
        for each in value:
            _forbid_nul(each)
    elif isinstance(value, dict):
        if value.get("type") == "string":
            value.setdefault("pattern", NO_NUL)
        for each in value.values():
            _forbid_nul(each)
