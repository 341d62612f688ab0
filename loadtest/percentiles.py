"""Latency percentiles from raw values, and how many values one of them needs.

A percentile here is `inverted_cdf` in NumPy's words: the smallest measured value that at least that
share of the values does not exceed. It is always a latency that was measured, never a mixture.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

DEFINITION = (
    "inverted CDF: the smallest measured latency that at least p % of the answered requests "
    "did not exceed; no interpolation, no rounding before"
)
# LoadGen's early stopping tests with this confidence that a bound holds.
_CONFIDENCE = 0.99


@cache
def samples_needed(percent: float) -> int:
    """The fewest values from which a percentile may be reported.

    MLPerf Inference's early stopping: the smallest n at which one value beyond the percentile
    still leaves 99 % confidence that the percentile is not beyond it, that is
    BinomCDF(1; n, 1 - p) <= 1 - 0.99 with BinomCDF(1; n, q) = p^n + n q p^(n-1).

    Args:
        percent: Above 0, below 100.

    Returns:
        11 for p50, 64 for p90, 662 for p99, 6,636 for p99.9.

    Raises:
        ValueError: `percent` is out of range.
    """
    if not 0 < percent < 100:
        msg = f"percentile {percent} received, expected more than 0 and less than 100"
        raise ValueError(msg)
    share = percent / 100
    count = 1
    while share**count + count * (1 - share) * share ** (count - 1) > 1 - _CONFIDENCE:
        count += 1
    return count


def percentile(values: npt.NDArray[np.int64], percent: float) -> int | None:
    """A percentile of raw values, or None if there are too few.

    Args:
        values: int64, shape (n,), any order and unit.
        percent: Above 0, below 100.

    Returns:
        One of the values, in their unit; None below `samples_needed(percent)` values.
    """
    if len(values) < samples_needed(percent):
        return None
    return int(np.percentile(values, percent, method="inverted_cdf"))
