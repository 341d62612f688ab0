"""Latency percentiles of raw values, and how many values are needed to report or bound one.

Percentiles use NumPy's method `inverted_cdf`: percentile p is the smallest measured value that at
least p % of the values do not exceed. It is always a measured latency, never an interpolation.

The counts are MLPerf Inference's early stopping (inference_rules.adoc, loadgen/early_stopping.cc)
with confidence c = 0.99 and tolerance d = 0. If t of n values lie over a bound, the bound holds for
percentile p if the chance of seeing t or fewer by luck, BinomCDF(t; n, 1 - p), is at most 1 %.
"""

import math
from fractions import Fraction
from functools import cache

import numpy as np
import numpy.typing as npt

DEFINITION = (
    "inverted CDF: the smallest measured latency that at least p % of the answered requests "
    "did not exceed; no interpolation, no rounding before"
)
_CONFIDENCE = 0.99


@cache
def samples_needed(percent: float, over: int = 1) -> int:
    """Return how many values are needed to report a percentile, or to claim a bound on it.

    Args:
        percent: Above 0, below 100.
        over: Number of values over the bound; use 1 to report a percentile.

    Returns:
        11 for p50, 64 for p90, 662 for p99, 6,636 for p99.9 with one value over.

    Raises:
        ValueError: `percent` is out of range.
    """
    _check(percent)
    low, high = over, max(1, 2 * over)
    while not _convincing(over, high, percent):
        low, high = high, 2 * high
    while high - low > 1:  # low does not convince, high does
        middle = (low + high) // 2
        if _convincing(over, middle, percent):
            high = middle
        else:
            low = middle
    return high


def over_allowed(count: int, percent: float, inflation: float = 1.0) -> int | None:
    """Return how many of `count` values may exceed a bound on a percentile.

    Args:
        count: Number of values.
        percent: Above 0, below 100.
        inflation: 1 for independent values. Correlated ones count as `count / inflation`
            independent values; see `correlation.inflation`.

    Returns:
        The largest such number; None if `count` is too small for the bound to hold even with no
        value over it (below 459 for p99).

    Raises:
        ValueError: `percent` is out of range.
    """
    _check(percent)
    if inflation > 1:
        return _scaled_over(count, percent, inflation)
    share = 1 - percent / 100
    chance, over = 0.0, -1
    while over < count:
        chance += math.exp(_log_chance(over + 1, count, share))
        if chance > 1 - _CONFIDENCE:
            break
        over += 1
    return None if over < 0 else over


def _scaled_over(count: int, percent: float, inflation: float) -> int | None:
    """Return how many values may exceed the bound if `inflation` of them count as one.

    The number among `count / inflation` values is interpolated, because a whole one would be too
    strict by up to `inflation` values.
    """
    effective = count / inflation
    whole = over_allowed(int(effective), percent)
    if whole is None:
        return None
    low, high = (samples_needed(percent, over) for over in (whole, whole + 1))
    return int(inflation * (whole + min(1.0, (effective - low) / (high - low))))


def percentile(values: npt.NDArray[np.int64], percent: float) -> int | None:
    """Return a percentile of raw values, or None if there are too few.

    Args:
        values: int64, shape (n,), any order and unit.
        percent: Above 0, below 100.

    Returns:
        One of the values, in their unit; None below `samples_needed(percent)` values.
    """
    if len(values) < samples_needed(percent):
        return None
    rank = _rank(len(values), percent)
    return int(np.partition(values, rank - 1)[rank - 1])


def percentile_of_sorted(values: npt.NDArray[np.int64], percent: float) -> int | None:
    """Return `percentile` of values in ascending order, without looking at all of them."""
    if len(values) < samples_needed(percent):
        return None
    return int(values[_rank(len(values), percent) - 1])


def _rank(count: int, percent: float) -> int:
    """Return the place of a percentile among `count` sorted values, from 1."""
    # Exactly: 99.9 / 100 is a little more than 0.999, and that times 100,000 more than 99,900.
    return math.ceil(Fraction(str(percent)) * count / 100)


def _check(percent: float) -> None:
    if not 0 < percent < 100:
        msg = f"percentile {percent} received, expected more than 0 and less than 100"
        raise ValueError(msg)


def _convincing(over: int, count: int, percent: float) -> bool:
    """Return whether BinomCDF(over; count, 1 - p) <= 1 %."""
    share = 1 - percent / 100
    chances = (math.exp(_log_chance(number, count, share)) for number in range(over + 1))
    return math.fsum(chances) <= 1 - _CONFIDENCE


def _log_chance(number: int, count: int, share: float) -> float:
    """Return the logarithm of the binomial probability of exactly `number` of `count`."""
    ways = math.lgamma(count + 1) - math.lgamma(number + 1) - math.lgamma(count - number + 1)
    return ways + number * math.log(share) + (count - number) * math.log1p(-share)
