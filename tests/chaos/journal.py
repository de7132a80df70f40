"""What the client of a run writes down, by its own clock: what it asked, when, and what was acknowledged. Pure.

Times are seconds of one monotonic clock; `asked` is right before a request, `at` right after its answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

LOGGED_OUT, DISABLED, DRAINED = "logged out", "disabled", "drained"


@dataclass(frozen=True, slots=True)
class Answer:
    kind: str  # match, feedback, register, operator …
    asked: float
    at: float
    status: str  # the code of HTTP, or why there was none


@dataclass(frozen=True, slots=True)
class Registered:
    miner_id: str
    mark: str  # what this registration alone says: its wallet address
    asked: float
    at: float


@dataclass(frozen=True, slots=True)
class Left:
    """Out of matching from the answer on."""

    miner_id: str
    how: str  # LOGGED_OUT, DISABLED or DRAINED
    asked: float
    at: float


@dataclass(frozen=True, slots=True)
class CameBack:
    """Asked to be matched again: from then on it may be, whatever is answered."""

    miner_id: str
    asked: float


@dataclass(frozen=True, slots=True)
class Offered:
    """The candidates of one match."""

    miner_ids: tuple[str, ...]
    asked: float
    at: float


@dataclass(frozen=True, slots=True)
class Told:
    """An acknowledged feedback."""

    job_id: str
    miner_id: str
    outcome: str
    tokens: str | None  # of a completed job, as it was sent
    at: float


@dataclass(frozen=True, slots=True)
class Overridden:
    miner_id: str
    reason: str  # names it
    price: str
    at: float


@dataclass(frozen=True, slots=True)
class Commanded:
    id: str
    miner_id: str
    name: str
    price: float | None  # of a price cap
    asked: float
    at: float


@dataclass(slots=True)
class Taken:
    """A reservation that was answered."""

    id: str
    job_id: str
    miner_id: str
    asked: float
    at: float
    until: float  # certainly live before this, unless it was ended
    ended: float | None = None  # when its end was first asked for


@dataclass(frozen=True, slots=True)
class AskedAgain:
    """What a job got that asked once more while its reservation was certainly live."""

    job_id: str
    had: str
    got: str | None
    asked: float
    at: float


@dataclass(frozen=True, slots=True)
class Matched:
    """One job of the region in which there is always room: whether it got its slot."""

    asked: float
    at: float
    good: bool
    status: str


@dataclass(frozen=True, slots=True)
class Health:
    """One answer of /v1/health, asked of one part directly; without one, `said` is why."""

    part: str
    said: str  # ok, degraded, or no answer
    db: str
    redis: str
    asked: float
    at: float


@dataclass(slots=True)
class Journal:
    answers: list[Answer] = field(default_factory=list)
    registered: list[Registered] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    came_back: list[CameBack] = field(default_factory=list)
    offered: list[Offered] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    overridden: list[Overridden] = field(default_factory=list)
    commanded: list[Commanded] = field(default_factory=list)
    taken: dict[str, Taken] = field(default_factory=dict)
    asked_again: list[AskedAgain] = field(default_factory=list)
    matched: list[Matched] = field(default_factory=list)
    health: list[Health] = field(default_factory=list)
    stalls: list[tuple[float, float]] = field(default_factory=list)  # when the client itself stood still, for how long
    slots: dict[str, int] = field(default_factory=dict)  # max_parallel of each miner

    def took(self, taken: Taken) -> None:
        """The same reservation may be answered more than once: it was live from the first time on."""
        known = self.taken.setdefault(taken.id, taken)
        known.until = max(known.until, taken.until)

    def ends(self, reservation_id: str, asked: float) -> None:
        known = self.taken[reservation_id]
        if known.ended is None:
            known.ended = asked

    def newest_registrations(self) -> Iterator[Registered]:
        """Of each miner the last that was acknowledged, where none was asked for after it."""
        newest: dict[str, Registered] = {}
        for each in self.registered:
            newest[each.miner_id] = each
        yield from newest.values()
