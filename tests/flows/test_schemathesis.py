"""The API held against its own OpenAPI document, on a real hub: schemathesis' coverage cases, then random ones.

Every check that it enables by default runs, apart from what LENIENT and the comments below give a reason for.
"""

import json
from collections import Counter
from itertools import count
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import Phase, settings
from hypothesis.stateful import initialize, run_state_machine_as_test
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.generation.stateful.state_machine import StepInput

from poolhub.openapi import document
from tests.effort import PROFILE, effort
from tests.hub import LiveHub

pytestmark = pytest.mark.servers

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

    def sent_with(self, case: schemathesis.Case) -> dict[str, Any]:
        """A token that a link put into the query speaks for its own miner."""
        linked = isinstance(case.query, dict) and isinstance(case.query.get("session_token"), str)
        headers = {name: value for name, value in self.headers.items() if not (linked and name == "Authorization")}
        return {"base_url": self.hub.base, "headers": headers, "session": self.session, "timeout": 20}

    def check(self, case: schemathesis.Case) -> None:
        sent = self.sent_with(case)
        self.judge(case, case.call(**sent), sent)

    def judge(self, case: schemathesis.Case, response: Any, sent: dict[str, Any]) -> None:
        lenient = {LENIENT.get((case.method, case.operation.path)), *known_refusal(response)}
        if "Authorization" not in sent["headers"]:  # the token of a link is good, whatever else was drawn as one
            lenient.add("ignored_auth")
        excluded = [check for check in CHECKS.get_all() if check.__name__ in lenient]
        case.validate_response(response, headers=sent["headers"], excluded_checks=excluded, transport_kwargs=sent)
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


def described(**changes: Any) -> Any:
    # NUL is refused in what the schema leaves free as well (tests/poolhub/common has that)
    generation = GenerationConfig(allow_x00=False, **changes)
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    return schemathesis.openapi.from_dict(json.loads(document()), config=config)


schema = described()


@schema.parametrize()
@TRIED
def test_every_operation_does_as_its_description_says(case: schemathesis.Case, caller: Caller) -> None:
    caller.check(case)


FOLLOWED = settings(
    effort(50, steps=10), derandomize=PROFILE != "thorough", print_blob=False, phases=[Phase.generate, Phase.shrink]
)
LED_TO = {
    "POST /v1/miners/heartbeat", "POST /v1/miners/update", "GET /v1/miners/lease/renew", "POST /v1/miners/logout",
    "GET /v1/miners/{miner_id}", "POST /v1/feedback", "DELETE /v1/reservations/{reservation_id}",
}  # fmt: skip


def test_what_an_answer_leads_to_does_as_its_description_says(caller: Caller) -> None:
    """Along the links of the description: register, report, log out; match, reserve, tell what became of it."""
    led_to: Counter[str] = Counter()
    # good bodies alone: a link may mend a bad one, of which it is then said that it was taken
    workflow, names = described(modes=[GenerationMode.POSITIVE]).as_state_machine(), count()

    class Flow(workflow):
        def begin(self, path: str, **body: Any) -> Any:
            """As schemathesis begins by itself, which it does with nothing but GET here."""
            begun = StepInput.initial(workflow.schema[path]["POST"].Case(body=body, media_type="application/json"))
            self.recorder.record_case(case=begun.case)
            self.control.record_step(begun, self.recorder)
            return self.step(begun)

        @initialize(target=workflow.bundles["POST /v1/miners/register -> 201"])
        def register(self) -> Any:
            return self.begin(
                "/v1/miners/register", miner_id=f"flow-{next(names)}", api_key="flow-key-0123456789", addr="h:1"
            )

        @initialize(target=workflow.bundles["POST /v1/match -> 200"])
        def match(self) -> Any:
            return self.begin("/v1/match", job_id=f"flow-{next(names)}", reserve=True)

        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return caller.sent_with(case)

        def after_call(self, response: Any, case: schemathesis.Case) -> None:
            if response.status_code < 300:
                led_to[case.operation.label] += 1

        def validate_response(self, response: Any, case: schemathesis.Case, **sent: Any) -> None:
            caller.judge(case, response, sent)

    run_state_machine_as_test(Flow, settings=FOLLOWED)
    assert LED_TO - led_to.keys() == set(), led_to


@pytest.mark.pure
def test_every_check_is_known_that_is_left_out() -> None:
    load_all_checks()
    assert {*LENIENT.values(), "positive_data_acceptance", "ignored_auth"} <= {
        check.__name__ for check in CHECKS.get_all()
    }
    assert {path for _, path in LENIENT} <= json.loads(document())["paths"].keys()
