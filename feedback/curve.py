"""How a miner's trust moved: the fold of its last outcomes, retraced. Pure.

Evidence is linear: what a miner has now is what its older outcomes left and what the known ones added, each forgotten
by its age. So what was there before the known ones follows from both, and from there they are folded again by the
same functions. The last point is the evidence that is kept, to rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from feedback.trust import Evidence
from matching.reservations.holds import Outcome

ROUNDING = 1e-9  # what is left below this share is an error of sums
MAX_HALVINGS = 40  # later, nothing is left of what was before: not one part in 10^12
STEPS = 60  # of a curve, between outcomes that are far from each other


@dataclass(frozen=True, slots=True)
class Told:
    at: float  # epoch seconds
    outcome: Outcome
    fail_code: str


@dataclass(frozen=True, slots=True)
class Point:
    at: float
    trust: float
    told: Told | None = None  # None: what forgetting alone does


def evidence_before(told: Sequence[Told], kept: Evidence, *, half_life_s: float) -> Evidence:
    """As of the first of these outcomes, without it; kept: with all of them. Oldest first, at least one."""
    added = Evidence(0.0, 0.0, told[0].at)
    for each in told:
        added = added.faded(each.at, half_life_s=half_life_s).told(each.outcome, each.fail_code)
    added = added.faded(kept.at, half_life_s=half_life_s)
    halvings = max(0.0, kept.at - told[0].at) / half_life_s
    if halvings > MAX_HALVINGS:
        return Evidence(0.0, 0.0, told[0].at)
    grown: float = 2.0**halvings
    return Evidence(_rest(kept.s, added.s) * grown, _rest(kept.f, added.f) * grown, told[0].at)


def _rest(kept: float, added: float) -> float:
    rest = kept - added
    return rest if rest > ROUNDING * max(1.0, kept) else 0.0


def curve(told: Sequence[Told], kept: Evidence, *, now: float, half_life_s: float) -> list[Point]:
    """Trust before the first outcome (there is one), after each, and now; with points between where there is room."""
    evidence = evidence_before(told, kept, half_life_s=half_life_s)
    span = max(now, told[-1].at) - told[0].at
    points: list[Point] = []
    for each in told:
        points += _between(evidence, each.at, span, half_life_s)
        evidence = evidence.faded(each.at, half_life_s=half_life_s)
        points.append(Point(evidence.at, evidence.trust()))
        evidence = evidence.told(each.outcome, each.fail_code)
        points.append(Point(evidence.at, evidence.trust(), each))
    return [*points, *_between(evidence, now, span, half_life_s), _faded(evidence, now, half_life_s)]


def _between(evidence: Evidence, until: float, span: float, half_life_s: float) -> list[Point]:
    step = span / STEPS
    steps = int((until - evidence.at) / step) if step > 0 else 0
    return [_faded(evidence, evidence.at + number * step, half_life_s) for number in range(1, steps + 1)]


def _faded(evidence: Evidence, at: float, half_life_s: float) -> Point:
    faded = evidence.faded(at, half_life_s=half_life_s)
    return Point(faded.at, faded.trust())
