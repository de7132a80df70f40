"""/admin/matching/matchrecord/playground/: what a body would be answered now."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from matching.admin.bodies import SLOTS, BodyForm, values_of
from matching.admin.playground import MAX_LINK
from matching.models import MatchRecord
from matching.records import records
from tests.matching.builders import add, ask, match, own, pool, report, tokens
from tests.operators import shows, staff, superuser

pytestmark = pytest.mark.django_db
PAGE = "/admin/matching/matchrecord/playground/"


@pytest.fixture
def root() -> Client:
    return superuser()


def case(body: object, **more: str) -> dict[str, str]:
    return {"body": json.dumps(body), **more}


def answered(reply) -> dict:
    assert reply.status_code == 200, reply.content
    return json.loads(reply.context["raw"])


def test_it_shows_what_the_api_answers_to_the_same_body(root, client) -> None:
    pool("m1", "m2", gpu_vram=24.0, region="eu-west")
    add("m3", gpu_vram=8.0)
    body = {
        "job_id": "j",
        "requirements": {"min_vram_gb": 16},
        "hints": {"region": "eu", "explain": "full"},
        "top_k": 5,
    }
    assert answered(root.get(PAGE, case(body))) == match(client, **body, dry_run=True)


def test_it_shows_what_why_not_answers(root, client) -> None:
    add("m1", gpu_vram=8.0, max_parallel=1)
    report("m1", queue_len=1)
    body = {"job_id": "j", "requirements": {"min_vram_gb": 16}}
    reply = root.get(PAGE, case(body, miner_id="m1"))
    assert json.loads(reply.context["raw_why"]) == ask(client, "/v1/match/why-not", **body, miner_id="m1").json()
    assert [(each.constraint, each.asked, each.actual, each.transient) for each in reply.context["failed"]] == [
        ("min_vram_gb", "16", "8", False),
        ("capacity", "1", "0", True),
    ]
    assert shows(reply, "waiting cannot cure it")


def test_a_busy_miner_is_one_that_waiting_can_cure(root) -> None:
    add("m1", max_parallel=1)
    report("m1", queue_len=1)
    assert shows(root.get(PAGE, {"miner_id": "m1"}), "waiting can cure it")


def test_an_eligible_miner_has_its_rank(root) -> None:
    pool("m1", "m2", "m3")
    reply = root.get(PAGE, {"miner_id": "m3"})
    assert shows(reply, "eligible")
    assert reply.context["why"].rank == 3


def test_nothing_is_held_or_recorded(root) -> None:
    pool("m1", max_parallel=1)
    answered(root.get(PAGE, case({"job_id": "j", "reserve": True})))
    assert own("m1") == 0
    records.flush()
    assert not MatchRecord.objects.exists()


def test_a_sent_form_becomes_an_address_that_shows_the_same(root) -> None:
    pool("m1", gpu_vram=24.0)
    sent = {
        "by": "form", "job_id": "j", "top_k": "3", "requirements.min_vram_gb": "16", "requirements.accel": "",
        "requirements.tags_any": "a b\r\nc", "hints.max_price": "0.5", "hints.weights.price": "1", "miner_id": " m1 ",
        "requirements.attested": "on",
    }  # fmt: skip
    reply = root.post(PAGE, sent)
    assert reply.status_code == 302
    linked = {name: value for name, (value,) in parse_qs(urlsplit(reply.url).query).items()}
    assert linked["miner_id"] == "m1"
    assert json.loads(linked["body"]) == {
        "job_id": "j", "top_k": 3,
        "requirements": {"min_vram_gb": 16, "tags_any": ["a b", "c"], "attested": True},
        "hints": {"max_price": 0.5, "weights": {"price": 1}},
    }  # fmt: skip
    again = root.get(reply.url)
    form = dict(again.context["groups"])
    assert {field.name: field.value() for field in form["Requirements"]}["requirements.tags_any"] == "a b\nc"


def test_sent_json_becomes_the_same_address(root) -> None:
    body = {"job_id": "j", "requirements": {"accel": ["cuda"]}}
    reply = root.post(PAGE, {"by": "json", "body": json.dumps(body, indent=7)})
    assert json.loads(parse_qs(urlsplit(reply.url).query)["body"][0]) == body


def test_a_case_that_is_too_long_for_an_address_is_answered_in_place(root) -> None:
    pool("m1")
    body = {"job_id": "j", "requirements": {"exclude_miners": [f"miner-{i:06}" for i in range(1000)]}}
    reply = root.post(PAGE, {"by": "json", "body": json.dumps(body)})
    assert len(json.dumps(body)) > MAX_LINK
    assert shows(reply, "too long for an address")
    assert answered(reply)["eligible"] == 1


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"job_id": ""}, "job_id"),
        ({"requirements.min_vram_gb": "much"}, "requirements.min_vram_gb"),
        ({"requirements.min_vram_gb": "-1"}, "requirements.min_vram_gb"),
        ({"requirements.min_vram_gb": "1e400"}, "requirements.min_vram_gb"),
        ({"requirements.min_gpu_count": "1.5"}, "requirements.min_gpu_count"),
        ({"requirements.min_trust": "2"}, "requirements.min_trust"),
        ({"hints.max_price": "cheap"}, "hints.max_price"),
        ({"top_k": "51"}, "top_k"),
        ({"requirements.accel": "x" * 257}, "requirements.accel"),
        ({"requirements.task": "a\0b"}, "requirements.task"),
    ],
)
def test_a_field_that_the_api_would_refuse_says_so_itself(root, sent, field) -> None:
    reply = root.post(PAGE, {"by": "form", "job_id": "j", **sent})
    assert reply.status_code == 200
    wrong = [each.name for _, fields in reply.context["groups"] for each in fields if each.errors]
    assert wrong == [field]
    assert "answer" not in reply.context


def test_weights_that_weigh_nothing_are_told(root) -> None:
    reply = root.post(PAGE, {"by": "form", "job_id": "j", "hints.weights.cap": "0"})
    assert shows(reply, "hints.weights: At least one weight must be above 0")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "The body is not JSON"), ("{", "The body is not JSON"), ("[]", "Expected an object"),
        ("[" * 100_000, "nested over 16 levels"), ('{"job_id": "\\ud800"}', "The body is not JSON"),
        ('{"job_id": "j", "requirements": {"min_vram": 8}}', "requirements.min_vram: There is no such field"),
        ("NaN", "The body is not JSON"),
        ('{"job_id": "<script>alert(1)</script>", "top_k": 0}', "top_k"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["get", "post"])
def test_json_that_the_api_would_refuse_is_told_with_its_path(root, text, told, how) -> None:
    reply = root.get(PAGE, {"body": text}) if how == "get" else root.post(PAGE, {"by": "json", "body": text})
    assert reply.status_code == 200
    assert any(told in fault for fault in reply.context["case"].faults)
    assert "<script>alert" not in reply.content.decode()


def test_what_the_api_ignores_is_ignored(root) -> None:
    add("m1", gpu_vram=8.0)
    reply = root.get(
        PAGE, {"body": '{"job_id": "j", "other": 1e400, "requirements": {"min_vram_gb": 16}}', "miner_id": "m1"}
    )
    assert answered(reply)["eligible"] == 0
    assert [each.constraint for each in reply.context["failed"]] == ["min_vram_gb"]


@pytest.mark.parametrize("miner_id", ["nobody", "not an id", "\0", "\ud800", "x" * 1000])
def test_an_unknown_miner_is_told_and_the_match_answered(root, miner_id) -> None:
    pool("m1")
    reply = root.post(PAGE, {"by": "form", "job_id": "j", "miner_id": miner_id.encode("utf-8", "replace").decode()})
    reply = root.get(reply.url) if reply.status_code == 302 else reply
    assert reply.context["case"].miner_faults
    assert answered(reply)["eligible"] == 1


def test_a_record_opens_with_its_body(root) -> None:
    pool("m1")
    body = {"job_id": "j7", "requirements": {"min_vram_gb": 500}, "reserve": True}
    made = MatchRecord.objects.create(job_id="j7", request=body, latency_ms=1)
    reply = root.get(PAGE, {"record": made.pk, "miner_id": "m1"})
    assert json.loads(reply.context["case"].text) == body
    assert answered(reply)["rejected"] == {"min_vram_gb": 1}
    assert f"{PAGE}?record={made.pk}" in root.get(f"/admin/matching/matchrecord/{made.pk}/change/").content.decode()


@pytest.mark.parametrize("record", ["0", "x", "-1", "9" * 40, "\u0661", "", "%00"])
def test_a_record_that_is_not_there_is_told(root, record) -> None:
    assert shows(root.get(PAGE, {"record": record}), "There is no match record")


def test_easing_a_constraint_is_one_click(root) -> None:
    add("m1", gpu_vram=8.0, price=tokens(1))
    reply = root.get(PAGE, case({"job_id": "j", "requirements": {"min_vram_gb": 16}}))
    (eased,) = reply.context["eased"]
    assert (eased.constraint, eased.adds, eased.relax_to) == ("min_vram_gb", 1, "8")
    assert answered(root.get(eased.url))["eligible"] == 1


def test_the_page_of_a_miner_is_linked_for_who_may_see_it(root) -> None:
    pool("m1")
    from miners.models import Miner

    pk = Miner.objects.create(miner_id="m1").pk
    link = f"/admin/miners/miner/{pk}/change/"
    assert link in root.get(PAGE).content.decode()
    assert link not in staff("matching.view_matchrecord").get(PAGE).content.decode()


def test_the_playground_takes_the_permission_to_view_matches() -> None:
    assert staff("miners.view_miner", name="other").get(PAGE).status_code == 403
    assert staff("miners.view_miner", name="third").post(PAGE, {"by": "form"}).status_code == 403
    assert Client().get(PAGE).status_code == 302
    assert staff("matching.view_matchrecord").get(PAGE).status_code == 200


def test_every_field_of_a_body_has_its_place_in_the_form() -> None:
    names = {slot.name for slot in SLOTS}
    assert {
        "requirements.min_vram_gb", "requirements.exclude_miners", "requirements.attested", "hints.region",
        "hints.max_price", "hints.spillover", "hints.weights.load", "top_k",
    } <= names  # fmt: skip


def test_a_form_filled_from_a_body_says_the_same_body() -> None:
    body = {
        "job_id": "j",
        "top_k": 2,
        "requirements": {"accel": ["a", "b"], "min_trust": 0.5, "attested": True},
        "hints": {"region": "eu"},
    }
    assert BodyForm(values_of(body)).body() == body
