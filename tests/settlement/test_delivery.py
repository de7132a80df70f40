"""Delivery: signed, at least once, in order, patient; to real receivers of every kind."""

import json
import threading
import time

import pytest
from django.db import connection
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from poolhub.common.errors import Conflict, NotFound
from settlement import backoff
from settlement.backends.webhook import WebhookBackend
from settlement.choices import State
from settlement.models import SettlementEvent, SettlementPause, SettlementReplay
from settlement.services import delivery
from settlement.services.delivery import events_deliver
from settlement.services.operators import delivery_resume, event_replay
from tests import receivers
from tests.receivers import Got, Handler
from tests.settlement.builders import SECRET, completed, deliver, event, jobs_at, miner, secret_of
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


def state(job_id: str = "j1", miner_id: str = "m1") -> tuple[str, int]:
    found = event(job_id, miner_id)
    return found.state, found.attempts


def answers(*each: receivers.Answer) -> receivers.Answer:
    """One after another; the last for ever."""
    left = list(each)

    def answer(handler: Handler, got: Got) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler, got)

    return answer


@pytest.fixture
def real_time(fake_clock) -> None:
    """The library that verifies looks at the real clock."""
    fake_clock.advance(time.time() - fake_clock.now())


@pytest.mark.usefixtures("real_time")
def test_an_event_is_posted_signed_and_marked(receiver) -> None:
    miner()
    made = completed()
    assert events_deliver() == {"delivered": 1}
    (got,) = receiver.got
    assert (got.method, got.path, got.headers["content-type"]) == ("POST", "/hook", "application/json")
    assert got.headers["webhook-id"] == made.public_id
    assert got.body.decode() == made.body
    assert Webhook(SECRET).verify(got.body, got.headers)["data"]["job_id"] == "j1"
    assert state() == ("delivered", 1)
    assert event().delivered_at is not None
    assert events_deliver() == {}
    assert len(receiver.got) == 1


@pytest.mark.usefixtures("real_time")
def test_secrets_rotate_with_two_signatures_in_one_header(receiver, settings) -> None:
    settings.SETTLEMENT_SECRETS = (secret_of("new"), SECRET)
    miner()
    completed()
    events_deliver()
    (got,) = receiver.got
    assert [each[:3] for each in got.headers["webhook-signature"].split(" ")] == ["v1,", "v1,"]
    for known in settings.SETTLEMENT_SECRETS:
        assert Webhook(known).verify(got.body, got.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_of("wrong")).verify(got.body, got.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(got.body.replace(b"0.25", b"9.25"), got.headers)


def test_without_an_address_events_wait_until_there_is_one(receiver, settings) -> None:
    url, settings.SETTLEMENT_URL = settings.SETTLEMENT_URL, ""
    miner()
    completed()
    assert events_deliver() == {}
    assert state() == ("pending", 0)
    settings.SETTLEMENT_URL = url
    assert events_deliver() == {"delivered": 1}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (receivers.status(500), "answered 500"),
        (receivers.status(404), "answered 404"),
        (receivers.status(302, Location="http://127.0.0.1:1/"), "redirects are not followed"),
        (receivers.status(301), "redirects are not followed"),
        (receivers.raw(b"\x00garbage\xff\r\n\r\n"), "RemoteProtocolError"),
        (receivers.raw(b""), "RemoteProtocolError"),
    ],
    ids=["500", "404", "302", "301", "garbage", "nothing"],
)
def test_a_receiver_that_refuses_is_tried_again_with_the_same_id_until_it_takes_it(receiver, answer, error) -> None:
    receiver.answer = answers(answer, receivers.ok)
    miner()
    made = completed()
    assert events_deliver() == {"failed": 1}
    assert error in event().last_error
    assert state() == ("pending", 1)
    assert events_deliver() == {}  # not yet
    deliver(2)
    assert state() == ("delivered", 2)
    assert receiver.ids() == [made.public_id] * 2
    assert receiver.got[0].body == receiver.got[1].body
    assert receiver.got[0].headers["webhook-timestamp"] != receiver.got[1].headers["webhook-timestamp"]


def test_a_receiver_that_is_slow_is_left_and_tried_again(receiver, settings) -> None:
    settings.SETTLEMENT_TIMEOUT_SEC = 0.2

    def slow(handler: Handler, got: Got) -> None:
        receiver.over.wait(30)

    receiver.answer = slow
    miner()
    completed()
    assert events_deliver() == {"failed": 1}
    assert event().last_error == "no answer within 0.2 s"


def test_any_body_of_an_accepting_answer_is_fine(receiver) -> None:
    receiver.answer = lambda handler, got: handler.say(200, b"\xff\x00{" * 50_000)
    miner()
    completed()
    assert events_deliver() == {"delivered": 1}


def test_a_private_receiver_is_refused_unless_the_operator_allows_it(receiver, settings) -> None:
    settings.OUTBOUND_ALLOW = ()
    miner()
    completed()
    assert events_deliver() == {"failed": 1}
    assert "OUTBOUND_ALLOW" in event().last_error
    assert receiver.got == []


def test_after_so_many_attempts_an_event_is_dead_and_the_next_goes_on(receiver) -> None:
    receiver.answer = lambda handler, got: handler.say(204 if b'"j2"' in got.body else 500)
    miner()
    completed("j1")
    completed("j2")
    deliver(3)
    assert state("j1") == ("dead", 3)
    deliver()
    assert state("j2") == ("delivered", 1)
    assert jobs_at(receiver) == ["j1", "j1", "j1", "j2"]


def test_waits_grow_with_jitter_up_to_a_bound() -> None:
    assert [backoff.wait_s(attempts, 0.5) for attempts in (1, 2, 3, 12, 13, 1000)] == [
        5,
        10,
        20,
        10_240,
        14_400,
        14_400,
    ]
    assert backoff.wait_s(1, 0.0) == 3.75
    assert backoff.wait_s(1, 0.999999) == pytest.approx(6.25)
    assert backoff.wait_s(1, 0.5, asked_s=60) == 60
    assert backoff.wait_s(1, 0.5, asked_s=10**7) == 14_400


@pytest.mark.parametrize(
    ("said", "least_s"), [("120", 120), ("Wed, 21 Oct 2026 07:28:00 GMT", 3.75), ("-5", 3.75), ("9" * 50, 3.75)]
)
def test_a_receiver_may_say_when_to_come_back(receiver, fake_clock, said, least_s) -> None:
    receiver.answer = receivers.status(429, Retry_After=said)
    miner()
    completed()
    events_deliver()
    wait = event().next_attempt_at.timestamp() - fake_clock.now()
    assert least_s <= wait <= least_s * 2


def test_events_of_one_miner_go_out_in_order_and_a_late_one_holds_up_no_other_miner(receiver) -> None:
    failing = {"a1"}
    receiver.answer = lambda handler, got: handler.say(
        500 if json.loads(got.body)["data"]["job_id"] in failing else 204
    )
    for each in ("a", "b"):
        miner(each)
        for number in (1, 2, 3):
            completed(f"{each}{number}", each)
    events_deliver()
    assert [job for job in jobs_at(receiver) if job[0] == "a"] == ["a1"]
    assert [job for job in jobs_at(receiver) if job[0] == "b"] == ["b1", "b2", "b3"]
    failing.clear()
    deliver(2)
    assert [job for job in jobs_at(receiver) if job[0] == "a"] == ["a1", "a1", "a2", "a3"]


def test_two_workers_at_once_send_each_event_once_and_in_order(receiver, settings) -> None:
    for each in "abcdef":
        miner(each)
        for number in range(4):
            completed(f"{each}{number}", each)
    barrier = threading.Barrier(3)
    lost: list[Exception] = []

    def work() -> None:
        try:
            barrier.wait()
            while SettlementEvent.objects.filter(state=State.PENDING).exists():
                events_deliver()
        except Exception as error:  # noqa: BLE001 - told below
            lost.append(error)
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert lost == []
    jobs = jobs_at(receiver)
    assert sorted(jobs) == sorted({f"{each}{number}" for each in "abcdef" for number in range(4)})
    for each in "abcdef":
        assert [job for job in jobs if job[0] == each] == [f"{each}{number}" for number in range(4)]


def test_an_event_that_is_being_sent_is_nobody_else_s_until_the_claim_runs_out(receiver, fake_clock) -> None:
    let_go, asked = threading.Event(), threading.Event()

    def held(handler: Handler, got: Got) -> None:
        asked.set()
        let_go.wait(30)
        handler.say(204)

    receiver.answer = held
    miner()
    completed("j1")
    completed("j2")

    def work() -> None:
        events_deliver()
        connection.close()

    first = threading.Thread(target=work)
    first.start()
    assert asked.wait(10)
    assert events_deliver() == {}
    fake_clock.advance(delivery.LEASES * 2 + delivery.LEASE_MARGIN_S)
    receiver.answer = receivers.ok
    assert events_deliver() == {"delivered": 2}  # the same once more, then the next
    let_go.set()
    first.join()
    assert jobs_at(receiver) == ["j1", "j1", "j2"]
    assert [state("j1"), state("j2")] == [("delivered", 2), ("delivered", 1)]


def test_a_worker_that_died_on_the_last_attempt_does_not_try_for_ever(receiver, settings) -> None:
    miner()
    completed()
    SettlementEvent.objects.update(attempts=settings.SETTLEMENT_ATTEMPTS)
    assert events_deliver() == {"dead": 1}
    assert receiver.got == []
    assert "did not survive" in event().last_error


def test_a_worker_that_is_told_to_stop_leaves_what_it_has_not_sent(receiver) -> None:
    for each in "abc":
        miner(each)
        completed("j1", each)
    stop = threading.Event()
    stop.set()
    backend = WebhookBackend(receiver.url(), (SECRET,), limit_s=1, parallel=3)
    claimed = delivery._claim(backend)
    assert delivery._deliver(backend, claimed, stop) == {}
    backend.close()
    assert {state(miner_id=each) for each in "abc"} == {("pending", 0)}
    assert events_deliver() == {"delivered": 3}


def test_410_lets_all_deliveries_rest_until_an_operator_resumes_them(receiver, settings) -> None:
    receiver.answer = receivers.status(410)
    for each in "ab":
        miner(each)
        completed("j1", each)
    settings.SETTLEMENT_PARALLEL = 1
    events_deliver()
    deliver(3)
    assert len(receiver.got) == 1
    assert {state(miner_id=each) for each in "ab"} == {("pending", 0)}
    receiver.answer = receivers.ok
    delivery_resume(pause=SettlementPause.objects.get())
    assert events_deliver() == {"delivered": 2}


def test_another_address_does_not_rest(receiver, settings) -> None:
    receiver.answer = receivers.status(410)
    miner()
    completed()
    deliver()
    receiver.answer = receivers.ok
    settings.SETTLEMENT_URL = receiver.url("/new")
    assert events_deliver() == {"delivered": 1}


def test_a_dead_event_is_replayed_with_the_same_id_and_that_is_kept(receiver, django_user_model) -> None:
    receiver.answer = receivers.status(500)
    miner()
    made = completed()
    deliver(3)
    root = django_user_model.objects.create_superuser("root")
    event_replay(event_pk=made.pk, author=root, reason="mended")
    kept = SettlementReplay.objects.get()
    assert (kept.author, kept.reason, kept.attempts, kept.last_error) == (
        root,
        "mended",
        3,
        "the receiver answered 500",
    )
    receiver.answer = receivers.ok
    assert events_deliver() == {"delivered": 1}
    assert receiver.ids() == [made.public_id] * 4


def test_only_a_dead_event_is_replayed(receiver) -> None:
    miner()
    made = completed()
    with pytest.raises(Conflict):
        event_replay(event_pk=made.pk)
    with pytest.raises(NotFound):
        event_replay(event_pk=made.pk + 1)
    assert not SettlementReplay.objects.exists()


def test_a_fault_of_a_backend_is_a_failed_attempt(receiver, monkeypatch, caplog) -> None:
    monkeypatch.setattr(WebhookBackend, "headers", lambda self, event: 1 / 0)
    miner()
    completed()
    assert events_deliver() == {"failed": 1}
    assert "ZeroDivisionError" in event().last_error
    assert until(lambda: caplog.text)
