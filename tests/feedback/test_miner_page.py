"""/admin/miners/miner/N/change/: everything that is known of one miner, from all apps."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from feedback.models import Feedback
from matching.models import Candidacy, MatchRecord
from matching.records import records
from miners.choices import CommandName
from miners.models import Miner
from miners.services.commands import command_args, command_create
from miners.services.operators import miner_create, price_override_create
from poolhub.common import clock
from tests.feedback.builders import tell
from tests.matching.builders import match, reserve
from tests.operators import shows, staff, superuser

pytestmark = pytest.mark.django_db(transaction=True)
PANELS = [
    "Now",
    "Effective price",
    "Trust",
    "Recent feedback",
    "Claimed, attested, observed",
    "Recent matches that offered it",
    "Reservations",
    "Commands",
]


@pytest.fixture
def root() -> Client:
    return superuser()


@pytest.fixture
def online(registry, fake_clock) -> Miner:
    made, _ = miner_create(miner_id="m1", profile={"region": "eu", "price": Decimal("0.9"), "max_parallel": 50})
    heard(registry, "m1", fake_clock.now())
    return made


def heard(registry: Any, miner_id: str, now: float) -> None:
    from miners.registry.records import Report

    assert registry.report(miner_id, Report(at=now, queue_len=0, temp_c=61.5))


def page(client: Client, miner: Miner) -> Any:
    return client.get(f"/admin/miners/miner/{miner.pk}/change/")


def panels(reply: Any) -> dict[str, Any]:
    return {shown.panel.title: shown.of for shown in reply.context["panels"]}


def queries(client: Client, miner: Miner) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert page(client, miner).status_code == 200
    return len(captured)


def test_a_miner_of_whom_nothing_is_known_yet_has_all_panels(root) -> None:
    made, _ = miner_create(miner_id="m1")
    reply = page(root, made)
    assert list(panels(reply)) == PANELS
    for text in (
        "No override was ever set.",
        "A new miner has 0.5",
        "No recorded match has offered it.",
        "It was sent none.",
    ):
        assert shows(reply, text)


def test_the_price_panel_says_what_holds_and_why(root, online, fake_clock) -> None:
    assert panels(page(root, online))["Effective price"]["effective"] == "0.9"
    at = clock.to_datetime(fake_clock.now())
    price_override_create(miner_id="m1", price=Decimal("0.7"), reason="older")
    price_override_create(miner_id="m1", price=Decimal("0.8"), reason="campaign", valid_until=at + timedelta(hours=1))
    price_override_create(miner_id="m1", price=Decimal("0.6"), valid_from=at + timedelta(hours=2))
    shown = panels(page(root, online))["Effective price"]
    assert (shown["effective"], shown["own"], shown["source"]) == ("0.8 (override)", "0.9", "override")
    assert [(each.price, each.standing.value) for each in shown["overrides"]] == [
        ("0.8", "in force"), ("0.7", "in force, behind a newer one"), ("0.6", "future"),
    ]  # fmt: skip
    fake_clock.advance(3600)
    shown = panels(page(root, online))["Effective price"]
    assert shown["effective"] == "0.7 (override)"
    assert [each.standing.value for each in shown["overrides"]] == ["in force", "future", "past"]


def test_the_explain_of_a_match_says_what_the_panel_says(root, online, client) -> None:
    price_override_create(miner_id="m1", price=Decimal("0.8"))
    (candidate,) = match(client)["candidates"]
    assert candidate["price"] == 0.8
    assert "price=0.00 (override)" in candidate["explain"]  # the dearest of one
    assert panels(page(root, online))["Effective price"]["effective"] == "0.8 (override)"


def test_the_trust_panel_draws_the_fold_of_the_log_up_to_the_trust_of_now(root, online, fake_clock) -> None:
    trusts = []
    for number, outcome in enumerate(["completed", "completed", "failed", "rejected", "accepted"]):
        fake_clock.advance(3600)
        trusts.append(tell(outcome, job_id=f"j{number}"))
    shown = panels(page(root, online))["Trust"]
    assert shown["trust"] == f"{trusts[-1]:.3f}"
    assert [name for name, _, number in shown["counts"] for _ in range(number)] == [
        "completed", "completed", "failed", "rejected", "accepted",
    ]  # fmt: skip
    dots = [(dot["kind"], dot["note"].split()[1]) for dot in shown["of_chart"]["dots"]]
    assert dots == [
        (kind, f"{trust:.3f}")
        for kind, trust in zip(["completed", "completed", "failed", "rejected"], trusts, strict=False)
    ]
    html = page(root, online).content.decode()
    assert len(re.findall(r"<circle", html)) == 4
    assert (
        "<script" not in html[html.index('class="hub-chart"') : html.index("</svg>", html.index('class="hub-chart"'))]
    )


def test_more_outcomes_than_are_looked_at_are_told_as_such(root, online, fake_clock) -> None:
    at = clock.to_datetime(fake_clock.now())
    Feedback.objects.bulk_create(
        Feedback(job_id=f"j{number}", miner=online, outcome="completed", created_at=at) for number in range(130)
    )
    Miner.objects.filter(pk=online.pk).update(trust_s=130, trust_at=at)
    reply = page(root, online)
    assert shows(reply, "130 outcomes told; of the last 100: 100 completed")
    assert len(panels(reply)["Recent feedback"]["rows"]) == 8


def test_recent_matches_tell_rank_and_lead_to_the_job_and_to_the_playground(
    root, online, client, registry, fake_clock
) -> None:
    miner_create(miner_id="cheap", profile={"region": "eu", "price": Decimal("0.1")})
    heard(registry, "cheap", fake_clock.now())
    match(client, "a job", top_k=2, hints={"max_price": 1})
    match(client, "not for it", requirements={"min_vram_gb": 500})
    records.flush()
    (offered,) = panels(page(root, online))["Recent matches that offered it"]["matches"]
    assert (offered.job, offered.rank, offered.of, offered.price) == ("a job", 2, 2, "0.9")
    assert root.get(offered.job_url).status_code == 200
    why = root.get(offered.why_url)
    assert why.context["why"].miner_id == "m1"
    assert (
        root.get(panels(page(root, online))["Recent matches that offered it"]["why_url"]).context["case"].miner_id
        == "m1"
    )


def test_live_reservations_are_listed_and_those_that_ended_are_not(root, online, client) -> None:
    reserve(client, "kept")
    reserve(client, "done")
    tell("completed", job_id="done")
    shown = panels(page(root, online))["Reservations"]
    assert [each["job"] for each in shown["reservations"]] == ["kept"]
    assert shown["held"] == 1


def test_the_number_of_queries_does_not_grow_with_what_is_shown(root, online, client) -> None:
    page(root, online)  # what Django looks up once
    bare = queries(root, online)
    for number in range(6):
        price_override_create(miner_id="m1", price=Decimal("0.5"))
        name = CommandName.UPDATE_TAGS
        command_create(miner_id="m1", name=name, args=command_args(name, {"tags": [str(number)]}))
        reserve(client, f"r{number}")
        match(client, f"j{number}")
        tell("completed", job_id=f"j{number}")
    records.flush()
    assert Candidacy.objects.count() == 12
    assert queries(root, online) == bare
    assert bare <= 11  # session, user, miner, and one or two a panel


def test_each_panel_takes_the_permission_for_what_it_shows(online) -> None:
    seen = panels(page(staff("miners.view_miner"), online))
    assert list(seen) == ["Now", "Effective price"]
    assert "overrides" not in seen["Effective price"]
    more = staff("miners.view_miner", "matching.view_matchrecord", "feedback.view_feedback", name="more")
    assert list(panels(page(more, online))) == ["Now", "Effective price", "Trust", "Recent feedback", PANELS[5]]


def test_what_strangers_wrote_is_escaped_in_every_panel(root, online) -> None:
    attack, shown = "<script>alert(1)</script>\u202e", "<script>alert(1)</script>\\u202e"
    record = MatchRecord.objects.create(job_id=attack, latency_ms=1, candidates=[{"miner_id": "m1", "explain": attack}])
    Candidacy.objects.create(miner_id="m1", record=record, made_at=record.created_at)
    Feedback.objects.create(job_id=attack, miner=online, outcome="failed", fail_code=attack)
    price_override_create(miner_id="m1", price=Decimal(1), reason=attack)
    reply = page(root, online)
    assert shows(reply, shown)
    html = reply.content.decode()
    assert "<script>alert" not in html
    assert "\u202e" not in html
