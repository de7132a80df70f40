"""Trust in a miner: a Beta mean with forgetting (contract, section 5). Pure.

trust = (2 + s) / (4 + s + f): a prior of two good and two bad outcomes, so a new miner has 0.5. s and f halve every
half-life, so old outcomes fade and a silent miner returns towards 0.5.
"""

from dataclasses import dataclass

from matching.reservations.holds import Outcome

FINAL = (Outcome.COMPLETED, Outcome.FAILED)
TRANSIENT = frozenset({"timeout", "network", "preempted"})  # fail codes that say little about the miner

COMPLETED_ADDS, FAILED_ADDS, TRANSIENT_ADDS, REJECTED_ADDS = 1.0, 2.0, 0.5, 0.25


@dataclass(frozen=True, slots=True)
class Evidence:
    """Successes and failures as of a time (epoch seconds)."""

    s: float
    f: float
    at: float

    def trust(self) -> float:
        """In (0, 1), as of `at`."""
        return (2 + self.s) / (4 + self.s + self.f)

    def faded(self, now: float, *, half_life_s: float) -> "Evidence":
        """What is left of it at a later time; a clock that went back forgets nothing."""
        left = 0.5 ** (max(0.0, now - self.at) / half_life_s)
        return Evidence(self.s * left, self.f * left, max(now, self.at))

    def told(self, outcome: Outcome, fail_code: str | None) -> "Evidence":
        """With one more outcome."""
        s, f = weight(outcome, fail_code)
        return Evidence(self.s + s, self.f + f, self.at)


def weight(outcome: Outcome, fail_code: str | None) -> tuple[float, float]:
    """What one outcome adds to s and f."""
    match outcome:
        case Outcome.COMPLETED:
            return COMPLETED_ADDS, 0.0
        case Outcome.FAILED:
            return 0.0, TRANSIENT_ADDS if fail_code in TRANSIENT else FAILED_ADDS
        case Outcome.REJECTED:
            return 0.0, REJECTED_ADDS
        case Outcome.ACCEPTED:
            return 0.0, 0.0
