"""What operators decide about settlement. Admin and commands call these alike."""

from typing import TYPE_CHECKING

from django.db import transaction

from access.audit import change_record
from poolhub.common import clock
from poolhub.common.errors import Conflict, NotFound
from settlement.choices import State
from settlement.models import SettlementEvent, SettlementPause, SettlementReplay

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def event_replay(*, event_pk: int, author: "User | None" = None, reason: str = "") -> SettlementReplay:
    """Another round of attempts for a dead event, beginning now; kept with its author and what had stopped it.

    The receiver may have got it before: it has the same id. Events of the same miner that were delivered meanwhile
    stay before it. Raises NotFound, and Conflict where the event is not dead.
    """
    now = clock.to_datetime(clock.now())
    with transaction.atomic():
        event = SettlementEvent.objects.select_for_update().filter(pk=event_pk).first()
        if event is None:
            raise NotFound("there is no such settlement event")
        if event.state != State.DEAD:
            raise Conflict(f"{event.public_id} is {event.state}: only a dead event is replayed")
        replay = SettlementReplay.objects.create(
            event=event, author=author, reason=reason, attempts=event.attempts, last_error=event.last_error,
            created_at=now,
        )  # fmt: skip
        event.state, event.attempts, event.next_attempt_at = State.PENDING, 0, now
        event.save(update_fields=["state", "attempts", "next_attempt_at"])
        before = {"state": State.DEAD.value, "attempts": replay.attempts, "last_error": replay.last_error}
        change_record(action="replayed", obj=event, before=before, after={"state": State.PENDING.value, "attempts": 0})
    return replay


def delivery_resume(*, pause: SettlementPause) -> None:
    """Deliveries to the pause's address go on, those that wait first."""
    with transaction.atomic():
        change_record(action="resumed", obj=pause, before={"rests": pause.reason}, after={})
        pause.delete()
