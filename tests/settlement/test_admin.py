"""/admin/settlement/…"""

import pytest
from django.test import Client

from access.models import Change
from settlement.models import SettlementEvent, SettlementPause, SettlementReplay
from tests import receivers
from tests.operators import messages_of, shows, staff, superuser
from tests.settlement.builders import completed, deliver, event, miner

pytestmark = pytest.mark.django_db(transaction=True)
LIST, REPLAYS, PAUSES = (
    f"/admin/settlement/{each}/" for each in ("settlementevent", "settlementreplay", "settlementpause")
)


@pytest.fixture
def root() -> Client:
    return superuser()


@pytest.fixture
def dead(receiver) -> SettlementEvent:
    receiver.answer = receivers.status(500)
    miner()
    completed("j1")
    deliver(3)
    return event()


def act(client: Client, url: str, action: str, *objects: object):
    return client.post(url, {"action": action, "_selected_action": [each.pk for each in objects]}, follow=True)


def test_dead_letters_are_seen_with_their_reason_and_found(root, dead) -> None:
    completed("j2")
    assert [each.job_id for each in root.get(LIST, {"state__exact": "dead"}).context["cl"].result_list] == ["j1"]
    assert [each.job_id for each in root.get(LIST, {"q": "j2"}).context["cl"].result_list] == ["j2"]
    assert len(root.get(LIST, {"q": "m1"}).context["cl"].result_list) == 2
    page = root.get(f"{LIST}{dead.pk}/change/")
    assert all(shows(page, each) for each in ("the receiver answered 500", dead.public_id, "wallet-of-m1", dead.body))


def test_an_operator_replays_them_and_it_is_kept_who(root, dead, receiver) -> None:
    completed("j2")
    reply = act(root, LIST, "replay", dead, event("j2"))
    assert messages_of(reply)[0] == "1 settlement event replayed."
    assert "only a dead event is replayed" in messages_of(reply)[1]
    assert SettlementReplay.objects.get().author.username == "root"
    logged = Change.objects.get()
    assert (logged.action, logged.user_name, logged.before["last_error"]) == (
        "replayed",
        "root",
        "the receiver answered 500",
    )
    assert shows(root.get(REPLAYS), "the receiver answered 500")
    receiver.answer = receivers.ok
    deliver()
    assert event().state == "delivered"


def test_replaying_takes_a_permission(dead) -> None:
    looker = staff("settlement.view_settlementevent")
    act(looker, LIST, "replay", dead)
    assert event().state == "dead"
    act(
        staff("settlement.view_settlementevent", "settlement.change_settlementevent", name="other"),
        LIST,
        "replay",
        dead,
    )
    assert event().state == "pending"


def test_a_rest_is_seen_and_ended(root, receiver) -> None:
    receiver.answer = receivers.status(410)
    miner()
    completed()
    deliver()
    assert shows(root.get(PAUSES), "the receiver answered 410")
    reply = act(root, PAUSES, "resume", SettlementPause.objects.get())
    assert messages_of(reply) == ["Deliveries go on."]
    assert not SettlementPause.objects.exists()


@pytest.mark.parametrize("path", ["add/", "{pk}/change/", "{pk}/delete/"])
def test_events_are_read_only(root, dead, path) -> None:
    assert root.post(LIST + path.format(pk=dead.pk), {"tokens_spent": 9, "post": "yes"}).status_code == 403
    assert event().tokens_spent == dead.tokens_spent


def test_hostile_text_is_escaped(root, receiver) -> None:
    miner(wallet_address="<script>alert(1)</script>")
    made = completed("<b>\u202e")
    for url in (LIST, f"{LIST}{made.pk}/change/"):
        page = root.get(url).content.decode()
        assert "<script>alert(1)" not in page
        assert "<b>\\u202e" not in page
        assert "\u202e" not in page
