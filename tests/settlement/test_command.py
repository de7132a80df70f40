"""manage.py settle."""

import pytest
from django.core.management import CommandError, call_command

from settlement.models import SettlementPause, SettlementReplay
from tests import receivers
from tests.settlement.builders import completed, deliver, event, miner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def settle(capsys):
    def run(*arguments: str) -> str:
        call_command("settle", *arguments)
        return capsys.readouterr().out

    return run


def test_it_delivers_what_is_due_and_tells_what_is_left(settle, receiver) -> None:
    assert settle() == "nothing was due; 0 wait, 0 dead\n"
    miner()
    completed("j1")
    completed("j2")
    assert settle() == "2 delivered; 0 wait, 0 dead\n"
    receiver.answer = receivers.status(500)
    completed("j3")
    assert settle() == "1 failed; 1 wait, 0 dead\n"


def test_dead_events_are_replayed_one_by_one_or_all(settle, receiver) -> None:
    receiver.answer = receivers.status(500)
    miner()
    for job in ("j1", "j2", "j3"):
        completed(job)
    deliver(9)
    assert settle("--replay", event("j2").public_id) == "1 events are pending again\n"
    assert settle("--replay", "all") == "2 events are pending again\n"
    assert list(SettlementReplay.objects.values_list("reason", flat=True)) == ["manage.py settle --replay"] * 3
    receiver.answer = receivers.ok
    assert settle() == "3 delivered; 0 wait, 0 dead\n"
    with pytest.raises(CommandError, match="only a dead event"):
        settle("--replay", event("j1").public_id)


@pytest.mark.parametrize("named", ["evt_1", "x", "evt_" + "0" * 32, "evt_" + "g" * 32])
def test_an_unknown_event_is_refused(settle, named) -> None:
    with pytest.raises(CommandError, match="there is no settlement event"):
        settle("--replay", named)


def test_a_rest_is_told_and_ended(settle, receiver) -> None:
    receiver.answer = receivers.status(410)
    miner()
    completed()
    settle()
    with pytest.raises(CommandError, match="--resume"):
        settle()
    assert settle("--resume") == "deliveries go on\n"
    assert settle("--resume") == "nothing rests\n"
    assert not SettlementPause.objects.exists()


def test_without_an_address_it_says_so(settle, settings) -> None:
    settings.SETTLEMENT_URL = ""
    miner()
    completed()
    with pytest.raises(CommandError, match="SETTLEMENT_URL is empty, 1 events wait"):
        settle()
