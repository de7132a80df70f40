"""A job's hold as the fold of what happened to the job; pure.

Several processes may hear of one job: one answers the match, another the feedback. Each applies what it hears in the
order of time, whenever it comes, so all of them end with the same hold.
"""

from bisect import insort_right
from dataclasses import dataclass, field, replace
from enum import StrEnum

KEPT_S = 10.0  # how late what happened may become known


class Outcome(StrEnum):
    """What a coordinator says of a job on a miner (contract, section 5)."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Hold:
    """One slot that is kept for a job, which may or may not come."""

    job_id: str
    miner_id: str
    expires_at: float  # epoch seconds
    candidates: tuple[str, ...]  # of the newest answer
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Offered:
    """An answer was given; without candidates it ends the hold."""

    at: float  # epoch seconds
    candidates: tuple[str, ...]
    expires_at: float


@dataclass(frozen=True, slots=True)
class Told:
    """Feedback came. expires_at: of the hold, where the job was accepted."""

    at: float
    miner_id: str
    outcome: Outcome
    expires_at: float


@dataclass(frozen=True, slots=True)
class Was:
    """What all that is older came to; None also where a reservation took the hold's place."""

    at: float
    hold: Hold | None


Happening = Offered | Told | Was


def step(job_id: str, hold: Hold | None, happened: Happening) -> Hold | None:
    """The hold after it (contract, section 6)."""
    if isinstance(happened, Was):
        return happened.hold
    if hold is not None and hold.expires_at <= happened.at:
        hold = None
    if isinstance(happened, Offered):
        return _offered(job_id, hold, happened)
    return None if hold is None else _told(job_id, hold, happened)


def _offered(job_id: str, hold: Hold | None, happened: Offered) -> Hold | None:
    if hold is not None and hold.accepted:
        return replace(hold, candidates=happened.candidates)
    first = happened.candidates[:1]
    return Hold(job_id, first[0], happened.expires_at, happened.candidates) if first else None


def _told(job_id: str, hold: Hold, happened: Told) -> Hold | None:
    if happened.outcome is Outcome.ACCEPTED:
        if happened.miner_id in (hold.miner_id, *hold.candidates):
            return Hold(job_id, happened.miner_id, happened.expires_at, hold.candidates, accepted=True)
        return hold
    final = happened.outcome is not Outcome.REJECTED
    return None if final or hold.miner_id == happened.miner_id else hold


@dataclass(slots=True)
class Job:
    """What is known of one job, by time; the oldest part is folded into one."""

    job_id: str
    hold: Hold | None = None
    happened: list[Happening] = field(default_factory=list)

    def add(self, new: Happening) -> None:
        if self.happened and new.at < self.happened[0].at and isinstance(self.happened[0], Was):
            return  # too late: what it would change is folded already
        late = bool(self.happened) and new.at < self.happened[-1].at
        insort_right(self.happened, new, key=lambda each: each.at)
        if late:
            self.hold = None
            for each in self.happened:
                self.hold = step(self.job_id, self.hold, each)
        else:
            self.hold = step(self.job_id, self.hold, new)
        self._shorten(self.happened[-1].at - KEPT_S)

    def _shorten(self, before: float) -> None:
        hold, old = None, 0
        while old < len(self.happened) and self.happened[old].at < before:
            hold = step(self.job_id, hold, self.happened[old])
            old += 1
        if old > 1:
            self.happened[:old] = [Was(self.happened[old - 1].at, hold)]

    @property
    def newest_at(self) -> float:
        return self.happened[-1].at if self.happened else 0.0
