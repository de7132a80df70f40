"""Trust as of now, from the counts as of their last change: (2 + s) / (4 + s + f), s and f halved every half-life.

Source: contract, section 5. The single-precision column is refreshed often enough that what it lacks in forgetting is
far below the sixth place; finalists and limits are computed exactly.
"""

import numpy as np
from numpy.typing import NDArray

from miners.registry.bitmaps import Rows
from miners.registry.columns import Columns
from miners.registry.turns import Turns

STALE_SHARE = 3e-6  # of a half-life: a trust that old is off by less than 3e-7
PART = 16_384  # slots refreshed at a time
LOOK_SHARE = 1 / 512  # of the time that a part may take


def faded(elapsed_s: NDArray[np.float64], half_life_s: float) -> NDArray[np.float64]:
    """The share that is left of a count, in (0, 1]; a clock that went back forgets nothing."""
    result: NDArray[np.float64] = np.exp2(-np.maximum(elapsed_s, 0) / half_life_s)
    return result


class Trust:
    def __init__(self, columns: Columns, *, half_life_s: float) -> None:
        self._columns = columns
        self.half_life_s = half_life_s
        self._turns: Turns[int] = Turns(max(0.01, STALE_SHARE * half_life_s))  # part i: PART slots from i * PART on
        self._looked_at = -float("inf")

    def exact(self, rows: Rows | slice, now: float) -> NDArray[np.float64]:
        columns = self._columns
        left = faded(now - columns.trust_at[rows], self.half_life_s)
        s, f = columns.trust_s[rows] * left, columns.trust_f[rows] * left
        result: NDArray[np.float64] = (2 + s) / (4 + s + f)
        return result

    def refresh(self, now: float, size: int) -> None:
        if 0 <= now - self._looked_at < LOOK_SHARE * self._turns.max_age_s:
            return
        self._looked_at = now
        for part in self._turns.due(range(-(-size // PART)), now):
            rows = slice(part * PART, (part + 1) * PART)
            self._columns.f_trust[rows] = self.exact(rows, now)
            self._columns.settle_merit(rows)
