"""Samples of the symmetric beta distribution, the same on every machine and NumPy version."""

import functools
from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt

# Samples are multiples of 1 / STEPS. A share, 1 - share, and share x pixel are then exact in
# float32, and a mixed pixel is at most 255 / (2 * STEPS) = 0.03 off the one of the exact share.
STEPS = 4096
# The terms shrink by more than half each, so that the rest is below float64's precision.
_TERMS = 64


def shares(bits: npt.NDArray[np.uint64], alpha: float) -> npt.NDArray[np.float32]:
    """Return samples of Beta(alpha, alpha), rounded to a multiple of 1 / STEPS.

    Args:
        bits: uint64, any shape: 64 random bits for each sample.
        alpha: Both parameters of the distribution, above 0 to 10.

    Returns:
        float32, shape of `bits`, 0 to 1.
    """
    uniform = (bits >> np.uint64(11)) * 2.0**-53
    steps = np.searchsorted(_boundaries(alpha), uniform, side="right")
    return (steps / STEPS).astype(np.float32)


@functools.cache
def _boundaries(alpha: float) -> npt.NDArray[np.float64]:
    """Return P(x < (k + 1/2) / STEPS) for k = 0 to STEPS - 1: float64, shape (STEPS,).

    Up to x = 1/2 the probability is proportional to the series of the incomplete beta function,
    x^alpha (1/alpha + (1 - alpha) x / (alpha + 1) + ...); above, the distribution is symmetric.
    NumPy's power differs between processors in the last bit, Decimal's does not. All other
    operations are sums, products and quotients of float64, which IEEE 754 defines exactly.
    """
    middle = [Decimal(2 * k + 1) / (2 * STEPS) for k in range(STEPS // 2)] + [Decimal("0.5")]
    with localcontext(prec=28):
        powers = np.array([float(x ** Decimal(alpha)) for x in middle])
    x = np.array([float(value) for value in middle])
    total, factor = np.zeros_like(x), np.ones_like(x)
    for n in range(_TERMS):
        total += factor / (alpha + n)
        factor = factor * x * ((n + 1 - alpha) / (n + 1))
    below = powers * total
    lower = 0.5 * below[:-1] / below[-1]
    return np.concatenate([lower, 1 - lower[::-1]])
