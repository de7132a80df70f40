"""Trust as of now, from the counts as of their last change: (2 + s) / (4 + s + f), s and f halved every half-life.

Source: contract, section 5. The single-precision column is refreshed often enough that what it lacks in forgetting is
far below the sixth place; finalists and limits are computed exactly.
"""

import numpy as np
from numpy.typing import NDArray

from miners.registry.bitmaps import Rows
from miners.registry.columns import Columns

STALE_SHARE = 3e-6  # of a half-life: a trust that old is off by less than 3e-7


def faded(elapsed_s: NDArray[np.float64], half_life_s: float) -> NDArray[np.float64]:
    """The share that is left of a count, in (0, 1]; a clock that went back forgets nothing."""
    result: NDArray[np.float64] = np.exp2(-np.maximum(elapsed_s, 0) / half_life_s)
    return result


class Trust:
    def __init__(self, columns: Columns, *, half_life_s: float) -> None:
        self._columns = columns
        self.half_life_s = half_life_s
        self._refreshed_at = -float("inf")

    def exact(self, rows: Rows, now: float) -> NDArray[np.float64]:
        columns = self._columns
        left = faded(now - columns.trust_at[rows], self.half_life_s)
        s, f = columns.trust_s[rows] * left, columns.trust_f[rows] * left
        result: NDArray[np.float64] = (2 + s) / (4 + s + f)
        return result

    def refresh(self, now: float, size: int) -> None:
        if 0 <= now - self._refreshed_at < max(0.01, STALE_SHARE * self.half_life_s):
            return
        columns = self._columns
        rows = np.flatnonzero(columns.trust_s[:size] + columns.trust_f[:size])
        columns.f_trust[rows] = self.exact(rows, now)
        columns.settle_merit(rows)
        self._refreshed_at = now
