"""How much less correlated requests prove than as many independent ones.

A late request is often followed by late ones, because they wait in the same queue. n requests then
prove as much about a percentile as fewer independent ones would: n divided by the design effect of
survey statistics, the factor by which correlation inflates the variance of a share (L. Kish, Survey
Sampling, 1965). It is estimated by batch means: the run is cut into `BATCHES` equal times, which
are taken as independent. The exact binomial limit for a share among so many effective requests is
Korn's and Graubard's (Survey Methodology 24, 1998).

Batches are independent if they are much longer than the correlation, so runs have a minimum
duration (`bounds.duration_class`).
"""

import numpy as np
import numpy.typing as npt

from loadtest.generator.recording import Integers

BATCHES = 60
ASSUMPTION = f"{BATCHES} equal parts of the run are taken as independent of each other"
# Korn and Graubard divide by the square of this ratio, too: with so few batches the design effect
# itself is uncertain. 99 % quantiles, of Student's t with BATCHES - 1 degrees of freedom and of the
# normal distribution.
_T_TO_NORMAL = 2.3912 / 2.3263


def inflation(
    over: npt.NDArray[np.bool_], latency_ns: Integers, due_ns: Integers, percent: float
) -> float:
    """Return by what number n must be divided to get the effective number of requests.

    The requests over the bound may be few, and their own design effect too low by chance. So it is
    also estimated for the slowest requests, as many as the percentile leaves out, and the higher
    one counts.

    Args:
        over: bool, shape (n,): whether a request was over the bound.
        latency_ns: int64, shape (n,): its latency; the highest possible value if it was not
            answered.
        due_ns: int64, shape (n,): when it was due.
        percent: The percentile of the bound, above 0 and below 100.

    Returns:
        1 for independent requests, more for correlated ones; 1 for fewer than `BATCHES` requests.
    """
    n = len(over)
    if n < BATCHES:
        return 1.0
    # Small numbers, so that the clock's origin does not change how edges are rounded.
    since_first_ns = due_ns - due_ns.min()
    edges = np.linspace(0, since_first_ns.max(), BATCHES + 1)[1:-1]
    batch = np.searchsorted(edges, since_first_ns, side="right")
    slowest = _slowest(latency_ns, max(1, round(n * (1 - percent / 100))))
    effect = max(_design_effect(over.astype(float), batch), _design_effect(slowest, batch))
    return effect * _T_TO_NORMAL**2 if effect > 1 else 1.0


def _slowest(latency_ns: Integers, count: int) -> npt.NDArray[np.float64]:
    """Return 1 for the slowest requests and 0 for others; equally slow ones share what is left."""
    limit = np.partition(latency_ns, -count)[-count]
    above, equal = latency_ns > limit, latency_ns == limit
    left = count - int(above.sum())
    marks: npt.NDArray[np.float64] = above + equal * (left / int(equal.sum()))
    return marks


def _design_effect(marks: npt.NDArray[np.float64], batch: Integers) -> float:
    """Return the variance of the mean of the marks over that of independent requests.

    The variance is that of a ratio estimator, because batches differ in their number of requests.

    Args:
        marks: float64, shape (n,), 0 to 1.
        batch: int64, shape (n,): number of the batch of each request.
    """
    if marks.min() == marks.max():
        return 1.0
    n, mean, independent = len(marks), float(marks.mean()), float(marks.var()) / len(marks)
    sizes = np.bincount(batch, minlength=BATCHES)
    residuals = np.bincount(batch, weights=marks, minlength=BATCHES) - mean * sizes
    variance = BATCHES / (BATCHES - 1) * float(np.square(residuals).sum()) / n**2
    return variance / independent
