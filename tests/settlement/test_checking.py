"""Reconciliation: what disagrees is found, and what is missing can be written."""

from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from feedback.models import Feedback
from miners.services.operators import miner_remove
from settlement.models import SettlementEvent
from settlement.services.checking import Kind, disagreements, events_fill
from tests.settlement.builders import completed, event, miner

pytestmark = pytest.mark.django_db(transaction=True)


def found() -> list[tuple[Kind, str]]:
    return [(each.kind, each.job_id) for each in disagreements()]


@pytest.fixture(autouse=True)
def jobs() -> None:
    miner()
    completed("j1")
    completed("j2", tokens="0")


def test_events_that_were_written_with_their_feedback_agree() -> None:
    assert found() == []


def test_feedback_without_an_event_is_found_and_gets_one() -> None:
    was = event("j1")
    was.delete()
    assert found() == [(Kind.NO_EVENT, "j1")]
    assert events_fill() == 1
    assert found() == []
    made = event("j1")
    assert (made.tokens_spent, made.completed_at, made.price, made.state) == (
        Decimal("0.25"),
        was.completed_at,
        None,
        "pending",
    )
    assert events_fill() == 0


def test_an_event_without_feedback_is_found() -> None:
    Feedback.objects.filter(job_id="j2").delete()
    assert found() == [(Kind.NO_FEEDBACK, "j2")]


def test_another_amount_is_found() -> None:
    Feedback.objects.filter(job_id="j1").update(tokens_spent=Decimal("0.25000001"))
    assert found() == [(Kind.AMOUNT, "j1")]


def test_a_body_that_says_something_else_than_its_columns_is_found() -> None:
    SettlementEvent.objects.filter(job_id="j1").update(body=event("j1").body.replace("0.25", "9.25"))
    assert found() == [(Kind.BODY, "j1")]


def test_events_of_a_miner_that_was_removed_are_no_disagreement() -> None:
    miner_remove(miner_id="m1")
    assert found() == []


def test_the_command_lists_them_and_says_so_in_its_exit(capsys) -> None:
    call_command("settle", "--check")
    assert capsys.readouterr().out == "events and feedback agree\n"
    event("j1").delete()
    with pytest.raises(CommandError, match="1 disagreements"):
        call_command("settle", "--check")
    assert capsys.readouterr().out.startswith("no event: job 'j1' on m1: completed at ")
    call_command("settle", "--fill")
    assert capsys.readouterr().out == "1 events written\n"
