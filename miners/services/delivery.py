"""Commands on their way: from the database to the miners whose sockets are in this process, and their answers back.

Promises. A command is in the database from before it is acknowledged until the miner has answered it, or it expires. A
miner gets its commands in their order, each once over one socket, and what it has not answered again over the next one,
with the same id. Sockets never wait for the database: what they have to say is written soon after, in one go, by the
background thread; what a crash loses of it is sent again.

Whichever process takes a command tells the others over the bus, and the one with the socket sends it. What it does not
hear of, because the teller died or Redis was away, it finds by itself: it looks every LOOK_S for new commands.
"""

import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from uuid import UUID

from django.db import transaction

from miners import connections
from miners.choices import CommandStatus
from miners.connections import Command
from miners.models import OPEN, MinerCommand
from miners.registry import runtime
from miners.registry.store import Registry
from poolhub.common import clock
from poolhub.common.metrics import COMMANDS

JOB, EVENT = "commands", "command"
RETRY_S, LOOK_S, EXPIRE_S = 2.0, 2.0, 60.0
UNHEARD_S = 120.0  # an older one waits for the miner's next socket
CHUNK = 500
MAX_ANSWERS = 100_000


@dataclass(frozen=True, slots=True)
class Answer:
    miner_id: str
    ok: bool
    detail: str
    at: float  # epoch seconds


class Delivery:
    """What the sockets of this process wait for, and what they have to say."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: set[str] = set()  # miners whose commands are to be looked for
        self._sent: set[UUID] = set()
        self._answers: dict[UUID, Answer] = {}

    def ask(self, miner_id: str) -> None:
        """Have what waits for this miner sent, where its socket is in this process."""
        if connections.has(miner_id):
            with self._lock:
                self._asking.add(miner_id)
            runtime.soon(JOB)

    def sent(self, command_id: UUID) -> None:
        with self._lock:
            self._sent.add(command_id)
        runtime.soon(JOB)

    def answered(self, command_id: UUID, answer: Answer) -> None:
        """The first answer counts. With the database away for long, the oldest are dropped, to be asked for again."""
        with self._lock:
            self._answers.setdefault(command_id, answer)
            if len(self._answers) > MAX_ANSWERS:
                del self._answers[next(iter(self._answers))]
        runtime.soon(JOB)

    def look(self) -> None:
        """Find the new commands that nobody told this process of."""
        for miner_id in commands_unheard(connections.miners()):
            self.ask(miner_id)

    def run(self) -> None:
        """Write what was sent and answered, then send what waits. What fails is kept for the next run.

        The lock, which sockets take too, is never held while the database is waited for.
        """
        self._write()
        while self._asking:
            with self._lock:
                asked = set(islice(self._asking, CHUNK))
                self._asking -= asked
            try:
                waiting = list(commands_open(asked))
            except BaseException:
                with self._lock:
                    self._asking |= asked
                raise
            for miner_id, commands in waiting:
                connections.command(miner_id, commands)

    def _write(self) -> None:
        with self._lock:
            sent, answers = set(self._sent), dict(self._answers)
        if sent or answers:
            commands_write(sent, answers)
            with self._lock:
                self._sent -= sent
                for command_id in answers:
                    self._answers.pop(command_id, None)


delivery = Delivery()


def command_tell(miner_id: str) -> None:
    """Have a command that was committed for this miner sent, by whichever process can."""
    delivery.ask(miner_id)
    bus = runtime.bus()
    if bus is not None:
        bus.publish(EVENT, miner_id.encode())


def join(registry: Registry) -> None:
    """Hear of the commands that other processes take."""
    bus = runtime.bus()
    if bus is not None:
        bus.on(EVENT, lambda payload: delivery.ask(payload.decode()))


def commands_open(miner_ids: Collection[str]) -> Iterator[tuple[str, list[Command]]]:
    """By miner, what it has not answered and is not too late, in its order."""
    now = clock.to_datetime(clock.now())
    rows = (
        MinerCommand.objects.filter(OPEN, miner__miner_id__in=miner_ids, expires_at__gt=now)
        .order_by("miner_id", "number", "created_at")
        .values_list("miner__miner_id", "id", "name", "args")
    )
    for miner_id, found in groupby(rows, key=itemgetter(0)):
        yield miner_id, [Command(command_id, name, args) for _, command_id, name, args in found]


def commands_unheard(here: Collection[str]) -> set[str]:
    """Of these miners, those with a new command that has not been sent."""
    if not here:
        return set()
    since = clock.to_datetime(clock.now() - UNHEARD_S)
    new = MinerCommand.objects.filter(status=CommandStatus.PENDING, created_at__gte=since)
    return set(new.values_list("miner__miner_id", flat=True)).intersection(here)


@transaction.atomic
def commands_write(sent: Collection[UUID], answers: Mapping[UUID, Answer]) -> None:
    """What was sent, then what was answered; a command that has ended stays as it is."""
    count = MinerCommand.objects.filter(pk__in=list(sent), status=CommandStatus.PENDING).update(
        status=CommandStatus.SENT, sent_at=clock.to_datetime(clock.now())
    )
    ended = {CommandStatus.ACKED: 0, CommandStatus.FAILED: 0}
    for command_id, answer in answers.items():
        status = CommandStatus.ACKED if answer.ok else CommandStatus.FAILED
        ended[status] += MinerCommand.objects.filter(OPEN, pk=command_id, miner__miner_id=answer.miner_id).update(
            status=status, detail=answer.detail, ended_at=clock.to_datetime(answer.at)
        )
    for event, number in [("sent", count), *ended.items()]:
        COMMANDS.labels(event=event).inc(number)


def commands_expire() -> int:
    """End what the miners have not answered in time; how many. Safe to run in every process."""
    now = clock.to_datetime(clock.now())
    count = MinerCommand.objects.filter(OPEN, expires_at__lte=now).update(status=CommandStatus.EXPIRED, ended_at=now)
    COMMANDS.labels(event="expired").inc(count)
    return count
