"""Deliver settlement events, and look after the outbox."""

import signal
import threading
from argparse import ArgumentParser
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from poolhub.common.errors import HubError
from settlement.backends.base import BackendError
from settlement.backends.runtime import open_backend
from settlement.choices import State
from settlement.models import SettlementEvent, SettlementPause
from settlement.selectors import outbox
from settlement.services.checking import disagreements, events_fill
from settlement.services.delivery import events_deliver, is_paused
from settlement.services.operators import delivery_resume, event_replay

MAX_SHOWN = 1000


class Command(BaseCommand):
    help = (
        "Deliver every settlement event that is due, once, and end. The worker and the embedded hub do so all the time."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        one = parser.add_mutually_exclusive_group()
        one.add_argument(
            "--check",
            action="store_true",
            help="list events that disagree with feedback; exit code 1 where there are any",
        )
        one.add_argument("--fill", action="store_true", help="write the events of completed feedback that has none")
        one.add_argument("--replay", metavar="ID", help="replay a dead event (evt_…), or 'all' of them")
        one.add_argument(
            "--resume", action="store_true", help="let deliveries go on that rest since the receiver answered 410"
        )

    def handle(self, *args: Any, check: bool, fill: bool, replay: str | None, resume: bool, **options: Any) -> None:
        if check:
            self.check_all()
        elif fill:
            self.stdout.write(f"{events_fill()} events written")
        elif replay:
            self.replay(replay)
        elif resume:
            self.resume()
        else:
            self.deliver()

    def deliver(self) -> None:
        backend = open_backend()
        if backend is None:
            raise CommandError(f"settlement is not set up: SETTLEMENT_URL is empty, {outbox().pending} events wait")
        backend.close()
        if is_paused(backend.target):
            raise CommandError("deliveries rest, since the receiver answered 410: manage.py settle --resume")
        stop = threading.Event()
        before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            went = events_deliver(stop=stop, round_s=float("inf"))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        left = outbox()
        told = ", ".join(f"{number} {word}" for word, number in sorted(went.items())) or "nothing was due"
        self.stdout.write(f"{told}; {left.pending} wait, {left.dead} dead")

    def check_all(self) -> None:
        count = 0
        try:
            for each in islice(disagreements(), MAX_SHOWN):
                count += 1
                self.stdout.write(f"{each.kind}: job {each.job_id!r} on {each.miner_id}: {each.detail}")
        except BackendError as error:
            raise CommandError(f"the other side cannot be asked: {error}") from None
        if count:
            more = " or more" if count == MAX_SHOWN else ""
            raise CommandError(f"{count}{more} disagreements; --fill writes the events that are missing")
        self.stdout.write("events and feedback agree")

    def replay(self, named: str) -> None:
        dead = SettlementEvent.objects.filter(state=State.DEAD).order_by("id")
        keys = list(dead.values_list("pk", flat=True)) if named == "all" else [self.event(named).pk]
        try:
            for pk in keys:
                event_replay(event_pk=pk, reason="manage.py settle --replay")
        except HubError as error:
            raise CommandError(error.detail) from None
        self.stdout.write(f"{len(keys)} events are pending again")

    def event(self, named: str) -> SettlementEvent:
        found = SettlementEvent.objects.filter(uid=named.removeprefix("evt_")).first() if _is_id(named) else None
        if found is None:
            raise CommandError(f"there is no settlement event {named}")
        return found

    def resume(self) -> None:
        pauses = list(SettlementPause.objects.all())
        for pause in pauses:
            delivery_resume(pause=pause)
        self.stdout.write("deliveries go on" if pauses else "nothing rests")


def _is_id(named: str) -> bool:
    bare = named.removeprefix("evt_")
    return len(bare) == 32 and all(each in "0123456789abcdef" for each in bare)
