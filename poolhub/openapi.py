"""The OpenAPI document: drf-spectacular walks the routes, the types are the msgspec structs that the views read."""

import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from http import HTTPStatus
from typing import Any

from django.conf import settings
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema

from poolhub.common.auth import AdminSecretOrStaff, SharedSecret
from poolhub.common.problems import PROBLEM_JSON
from poolhub.common.schema import Problem, components, is_required, reference

Endpoint = tuple[str, str, str, Callable[..., Any]]

SESSION, SESSION_IN_QUERY, STAFF = "SessionToken", "SessionTokenInQuery", "StaffSession"
SESSION_SCHEMES = {
    SESSION: {"type": "http", "scheme": "bearer", "description": "The token that register answered."},
    SESSION_IN_QUERY: {"type": "apiKey", "in": "query", "name": "session_token", "description": "For older clients."},
}


class HubSchema(AutoSchema):
    def get_operation_id(self) -> str:
        words = re.findall(r"[a-z]+(?![a-z_]*\})|\{", self.path.removeprefix("/v1"))
        named = "_".join(words).replace("{", "one")
        return f"{named}_{self.method.lower()}"

    def _is_list_view(self, serializer: Any = None) -> bool:
        return False  # an action named list answers the page that its view names, not an array of it

    def get_tags(self) -> list[str]:
        return [self.path.removeprefix("/v1/").strip("/").split("/")[0]]

    def get_auth(self) -> list[dict[str, list[str]]]:
        for each in self.view.permission_classes:
            if isinstance(each, type) and issubclass(each, SharedSecret):
                ways: list[dict[str, list[str]]] = [{scheme_of(each): []}]
                if issubclass(each, AdminSecretOrStaff):
                    ways.append({STAFF: []})
                if getattr(each, "open_on_loopback", False):
                    ways.append({})
                return ways
        return [{name: []} for name in SESSION_SCHEMES] if getattr(self.view, "asks_session", False) else [{}]


def scheme_of(secret: type[SharedSecret]) -> str:
    return secret.header.removeprefix("X-").replace("-", "")


def simple_paths(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Each route is there with and without a slash at its end, and the document shows the plain one."""
    return [(each[0].rstrip("/"), *each[1:]) for each in endpoints if each[0].startswith("/v1/")]


def add_types(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    held = result.setdefault("components", {})
    held.setdefault("schemas", {}).update(components())
    headers = {scheme_of(each): {"type": "apiKey", "in": "header", "name": each.header} for each in _all(SharedSecret)}
    staff = {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME, "description": "An admin login."}
    held["securitySchemes"] = {**SESSION_SCHEMES, **headers, STAFF: staff}
    for path, methods in result["paths"].items():
        for method, operation in methods.items():
            add_common_problems(operation["responses"], reads_body=method == "post", names_one="{" in path)
            if "requestBody" in operation:
                told = operation["requestBody"]
                told["required"] = is_required(told["content"]["application/json"]["schema"]["$ref"])
    return result


def add_common_problems(responses: dict[str, Any], *, reads_body: bool, names_one: bool) -> None:
    """What any route may answer, so that no view has to say it."""
    shared = [400, 411, 413, 503, *([415, 422] if reads_body else []), *([404] if names_one else [])]
    for status in sorted(shared):
        told = {"schema": reference(Problem)}
        responses.setdefault(str(status), {"content": {PROBLEM_JSON: told}, "description": HTTPStatus(status).phrase})


def _all(base: type[SharedSecret]) -> list[type[SharedSecret]]:
    return [found for each in base.__subclasses__() for found in (each, *_all(each))]


@cache
def document() -> bytes:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    return json.dumps(generator.get_schema(request=None, public=True)).encode()  # type: ignore[no-untyped-call]
