"""Whatever arrives, decode gives a struct or one of two errors; and null, numbers and the two ways of reading agree."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.serializers import FeedbackRequest
from matching.serializers import BatchRequest, MatchRequest, RenewRequest, WhyNotRequest
from miners.serializers import HeartbeatRequest, RegisterRequest, UpdateRequest
from poolhub.common import codec
from poolhub.common.errors import HubError, MalformedJSON, ValidationFailed
from tests.effort import effort

pytestmark = pytest.mark.pure

KINDS = (MatchRequest, WhyNotRequest, BatchRequest, RenewRequest, FeedbackRequest, RegisterRequest, UpdateRequest,
         HeartbeatRequest)  # fmt: skip
kinds = st.sampled_from(KINDS)

NAMES = (
    "job_id", "miner_id", "requirements", "hints", "weights", "top_k", "reserve", "reservation_ttl_ms", "dry_run",
    "requests", "outcome", "latency_ms", "tokens_spent", "fail_code", "min_vram_gb", "min_gpu_count", "accel",
    "exclude_miners", "attested", "task", "region", "max_price", "deadline_ms", "explain", "spillover", "cap", "load",
    "api_key", "addr", "tags", "capabilities", "queue_len", "busy", "current_jobs", "temp_c", "memory_used", "status",
)  # fmt: skip
NUMBERS = (
    st.integers() | st.sampled_from((0, 1, -1, 50, 51, 10**6, 10**6 + 1, 10**12, 10**30, 10**400, -(10**400)))
    | st.floats() | st.sampled_from((1e13, 1.5, 3.0, 1e308, -0.0, 5e-324))
)  # fmt: skip
WORDS = ("cuda", "completed", "short", "0.1", "1e9", "-1", "NaN", "", "\0", "\ud800", "x" * 300, "١")
LEAVES = st.none() | st.booleans() | NUMBERS | st.sampled_from(WORDS) | st.text(max_size=8)
KEYS = st.sampled_from(NAMES) | st.text(max_size=4)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=25
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=8)


def outcome(body: bytes, kind: type[Any]) -> Any:
    """The struct, or the refusal; anything else fails the test."""
    try:
        found = codec.decode(body, kind)
    except (MalformedJSON, ValidationFailed) as error:
        return error
    assert isinstance(found, kind)
    return found


@effort(300)
@given(st.binary() | st.text().map(str.encode), kinds)
def test_any_bytes_are_a_struct_or_refused(body: bytes, kind: type[Any]) -> None:
    outcome(body, kind)


@effort(300)
@given(VALUES | OBJECTS, kinds)
def test_any_json_is_a_struct_or_refused(value: Any, kind: type[Any]) -> None:
    outcome(json.dumps(value).encode(), kind)
    outcome(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), kind)


VALID: dict[type[Any], dict[str, Any]] = {
    MatchRequest: {
        "job_id": "j", "requirements": {"min_vram_gb": 8, "accel": ["cuda"], "attested": True, "min_trust": 0.5},
        "hints": {"region": "eu", "max_price": "0.1", "weights": {"cap": 1, "load": 0.5}, "explain": "full"},
        "top_k": 3, "reserve": True, "reservation_ttl_ms": 5000, "dry_run": False,
    },
    FeedbackRequest: {
        "job_id": "j", "miner_id": "m", "outcome": "failed", "latency_ms": 1.5, "fail_code": "oom", "tokens_spent": 0.1,
    },
    RegisterRequest: {
        "miner_id": "m", "api_key": "k" * 16, "addr": "a:1", "gpu_vram": 24, "tags": ["a"], "base_price": "1",
    },
}  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[type[Any], bytes]:
    """A good body in which one thing somewhere has been replaced, added or cut off."""
    kind = draw(st.sampled_from(list(VALID)))
    body = json.loads(json.dumps(VALID[kind]))
    place = body
    while True:
        nested = [each for each in place.values() if isinstance(each, dict)]
        if not nested or draw(st.booleans()):
            break
        place = draw(st.sampled_from(nested))
    place[draw(st.sampled_from(sorted(place)) | KEYS)] = draw(VALUES)
    text = json.dumps(body).encode()
    return kind, text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


@effort(500)
@given(spoiled())
def test_a_good_body_that_is_spoiled_is_a_struct_or_refused(made: tuple[type[Any], bytes]) -> None:
    outcome(made[1], made[0])


@effort(300)
@given(spoiled())
def test_a_refusal_names_each_field_once(made: tuple[type[Any], bytes]) -> None:
    found = outcome(made[1], made[0])
    if isinstance(found, HubError):
        fields = [error.field for error in found.errors]
        assert len(set(fields)) == len(fields) <= codec.MAX_ERRORS
        assert found.detail
        assert (found.status == 422) == isinstance(found, ValidationFailed)


def slow_outcome(body: bytes, kind: type[Any]) -> Any:
    """The same, by the second way of reading alone."""
    try:
        return codec._Reader().read(codec._untyped.decode(body), kind, "")
    except ValidationFailed as error:
        return error


@effort(300)
@given(spoiled())
def test_both_ways_of_reading_agree(made: tuple[type[Any], bytes]) -> None:
    kind, body = made
    quick = outcome(body, kind)
    try:
        slow = slow_outcome(body, kind)
    except msgspec.DecodeError:  # no JSON, or a number that nothing holds, which a field that is ignored may have
        return
    if isinstance(quick, ValidationFailed) and quick.code == "invalid_character":  # looked for after the reading
        return
    if isinstance(slow, ValidationFailed):
        assert isinstance(quick, ValidationFailed)
        assert [(each.field, each.code) for each in quick.errors] == [(each.field, each.code) for each in slow.errors]
    else:
        assert codec.encode(quick) == codec.encode(slow)


@effort(200)
@given(st.sampled_from(list(VALID)), st.data())
def test_null_is_the_same_as_left_out(kind: type[Any], data: st.DataObject) -> None:
    body, required = VALID[kind], {"job_id", "miner_id", "outcome", "api_key", "addr"}
    given_names = data.draw(st.sets(st.sampled_from(sorted(set(body) - required))))
    left_out = {name: value for name, value in body.items() if name in required | given_names}
    nulled = {name: body[name] if name in required | given_names else None for name in body}
    assert codec.decode(json.dumps(left_out).encode(), kind) == codec.decode(json.dumps(nulled).encode(), kind)
