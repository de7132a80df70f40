"""The API held against its own OpenAPI document, on a real hub: schemathesis' coverage cases, then random ones.

Every check that it enables by default runs, apart from what LENIENT and the comments below give a reason for.
"""

import json
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig

from poolhub.openapi import document
from tests.effort import PROFILE, effort
from tests.hub import LiveHub

LENIENT = {
    # each request of a batch is refused on its own, and the answer as a whole is 200
    ("POST", "/v1/match/batch"): "negative_data_rejection",
    # a body is read only where the token is nowhere else, and says nothing more
    ("POST", "/v1/miners/lease/renew"): "negative_data_rejection",
    ("POST", "/v1/miners/logout"): "negative_data_rejection",
    # no schema can say that a manifest is signed by somebody who is trusted
    ("POST", "/v1/miners/manifest"): "positive_data_acceptance",
}
# the same cases each time, except where somebody asks for more
TRIED = settings(effort(15), derandomize=PROFILE != "thorough", print_blob=False)


class Caller:
    """Everybody at once: a coordinator, an operator, and a miner whose session lives."""

    def __init__(self, hub: LiveHub) -> None:
        self.hub = hub
        self.session = requests.Session()
        self._register()

    def check(self, case: schemathesis.Case) -> None:
        sent = {"headers": self.headers, "session": self.session, "timeout": 20}
        response = case.call(base_url=self.hub.base, **sent)
        lenient = {LENIENT.get((case.method, case.operation.path)), *known_refusal(response)}
        excluded = [check for check in CHECKS.get_all() if check.__name__ in lenient]
        case.validate_response(
            response,
            headers=self.headers,
            excluded_checks=excluded,
            transport_kwargs={"base_url": self.hub.base, **sent},
        )
        if case.operation.path == "/v1/miners/logout":
            self._register()

    def close(self) -> None:
        self.session.close()

    def _register(self) -> None:
        miner = {
            "miner_id": "schemathesis",
            "api_key": "schemathesis-key-000001",
            "addr": "h:1",
            "max_parallel": 10_000,
        }
        reply = httpx.post(f"{self.hub.base}/v1/miners/register", json=miner, timeout=20)
        assert reply.is_success, reply.text
        bearer = {"Authorization": f"Bearer {reply.json()['session_token']}"}
        self.headers = {**self.hub.coordinator, **self.hub.admin, **bearer}


def known_refusal(response: Any) -> list[str]:
    """No schema can say that a tag made of a key and its value has at most 64 characters together."""
    if response.status_code == 422:
        errors = response.json().get("errors", [])
        if errors and all(each["code"] == "too_long" and each["field"].startswith("tags.") for each in errors):
            return ["positive_data_acceptance"]
    return []


@pytest.fixture(scope="module")
def caller(live_hub: LiveHub) -> Any:
    made = Caller(live_hub)
    yield made
    made.close()


def described() -> Any:
    # NUL is refused in what the schema leaves free as well (tests/poolhub/common has that)
    generation = GenerationConfig(allow_x00=False)
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    return schemathesis.openapi.from_dict(json.loads(document()), config=config)


schema = described()


@schema.parametrize()
@TRIED
def test_every_operation_does_as_its_description_says(case: schemathesis.Case, caller: Caller) -> None:
    caller.check(case)


@pytest.mark.pure
def test_every_check_is_known_that_is_left_out() -> None:
    load_all_checks()
    assert {*LENIENT.values(), "positive_data_acceptance"} <= {check.__name__ for check in CHECKS.get_all()}
    assert {path for _, path in LENIENT} <= json.loads(document())["paths"].keys()
