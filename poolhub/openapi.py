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

# what of an answer another request takes: (operation, statuses) -> [(name of the link, operation, parameters, body)]
TOKEN = {"session_token": "$response.body#/session_token"}
NAMED = {"miner_id": "$response.body#/miner_id"}
GRANTED = {"reservation_id": "$response.body#/reservation/id"}
FIRST = {"job_id": "$response.body#/job_id", "miner_id": "$response.body#/candidates/0/miner_id"}
LINKS: dict[tuple[str, tuple[str, ...]], list[tuple[str, str, dict[str, str], dict[str, str]]]] = {
    ("miners_register_post", ("200", "201")): [
        ("heartbeat", "miners_heartbeat_post", TOKEN, {}),
        ("update", "miners_update_post", TOKEN, {}),
        ("renew", "miners_lease_renew_get", TOKEN, {}),
        ("standing", "miners_standing_get", TOKEN, {}),
        ("logout", "miners_logout_post", TOKEN, {}),
        ("show", "miners_one_get", NAMED, {}),
        ("command", "miners_one_commands_post", NAMED, {}),
    ],
    ("miners_get", ("200",)): [
        ("next_page", "miners_get", {"cursor": "$response.body#/next_cursor"}, {}),
        ("show", "miners_one_get", {"miner_id": "$response.body#/results/0/miner_id"}, {}),
    ],
    ("match_post", ("200",)): [
        ("renew_reservation", "reservations_one_renew_post", GRANTED, {}),
        ("end_reservation", "reservations_one_delete", GRANTED, {}),
        ("feedback", "feedback_post", {}, FIRST),
        ("why_not", "match_why_not_post", {}, FIRST),
    ],
    ("reservations_one_renew_post", ("200",)): [
        ("end_reservation", "reservations_one_delete", {"reservation_id": "$response.body#/id"}, {}),
    ],
    ("reservations_get", ("200",)): [
        ("renew_reservation", "reservations_one_renew_post", {"reservation_id": "$response.body#/results/0/id"}, {}),
    ],
    ("settlements_get", ("200",)): [
        ("next_page", "settlements_get", {"cursor": "$response.body#/next_cursor"}, {}),
    ],
}

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
            add_links(operation)
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


def add_links(operation: dict[str, Any]) -> None:
    for (source, statuses), links in LINKS.items():
        if operation["operationId"] == source:
            for status in statuses:
                operation["responses"][status]["links"] = {
                    name: {
                        "operationId": target,
                        **({"parameters": parameters} if parameters else {}),
                        **({"requestBody": body} if body else {}),
                    }
                    for name, target, parameters, body in links
                }


def _all(base: type[SharedSecret]) -> list[type[SharedSecret]]:
    return [found for each in base.__subclasses__() for found in (each, *_all(each))]


@cache
def document() -> bytes:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    return json.dumps(generator.get_schema(request=None, public=True)).encode()  # type: ignore[no-untyped-call]
