"""How far apart two regions are, from what many miners measured, of whom some err and some lie; pure.

Each miner has one voice. Values further from the median than 3 sigma are dropped, sigma by the median absolute
deviation (Leys et al. 2013, "Detecting outliers: do not use standard deviation around the mean"), and the mean of the
others counts. So whoever is far off counts for nothing, and who stays within the band moves the mean of n by the
band / n at most.
"""

from collections.abc import Sequence

import numpy as np

SIGMAS = 3.0
TO_SIGMA = 1.4826  # of a normal distribution's median absolute deviation
MIN_BAND_MS, MIN_BAND_SHARE = 1.0, 0.1  # of the median: times that agree closely are not torn apart
OPERATOR_VOICES = 3  # so many miners an operator's own value counts for
MIN_MINERS = 3  # without an operator's value; fewer say nothing


def estimate(measured: Sequence[float], operator_ms: float | None) -> float | None:
    """ms, from one value of each miner; None where too few have measured and no operator has said."""
    if operator_ms is None and len(measured) < MIN_MINERS:
        return None
    voices = [] if operator_ms is None else [operator_ms] * OPERATOR_VOICES
    values = np.array([*voices, *measured], np.float64)
    median = float(np.median(values))
    away = np.abs(values - median)
    band = max(SIGMAS * TO_SIGMA * float(np.median(away)), MIN_BAND_MS, MIN_BAND_SHARE * median)
    return float(values[away <= band].mean())
