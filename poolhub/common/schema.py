"""msgspec structs in drf-spectacular's OpenAPI.

``@extend_schema(request=body(X), responses={200: answer(Y), **PROBLEMS(401)})``
"""

from typing import Any

import msgspec

from poolhub.common.fields import schema_hook

REF = "#/components/schemas/{name}"

_structs: set[type[msgspec.Struct]] = set()
_optional: set[str] = set()


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
    return {"$ref": REF.format(name=struct.__name__)}


def components() -> dict[str, Any]:
    """The schemas of every struct that a view named, and of what they contain."""
    kinds = sorted(_structs, key=lambda struct: struct.__name__)
    _, schemas = msgspec.json.schema_components(kinds, schema_hook=schema_hook, ref_template=REF)
    return schemas
