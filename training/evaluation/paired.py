"""Comparison of two classifiers on the same images, with the interval of the difference."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluation.accuracy import Z_95
from training.evaluation.significance import LEVEL


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Accuracy of a first classifier minus that of a second on the same images.

    Attributes:
        n: Number of images.
        only_first: Images that the first alone classifies correctly.
        only_second: Images that the second alone classifies correctly.
        difference: Difference of the accuracies, -1 to 1.
        interval_95: 95 % interval of the difference. It is approximate: near the limit it may
            exclude 0 although the exact test does not tell the two apart.
        p_value: p-value of McNemar's exact test: the probability that, of the images that only one
            classifier gets right, at least as uneven a split occurs if both are equally good.
    """

    n: int
    only_first: int
    only_second: int
    difference: float
    interval_95: tuple[float, float]
    p_value: float

    @property
    def is_clear(self) -> bool:
        """Whether McNemar's exact test tells the two apart: the p-value is below LEVEL."""
        return self.p_value < LEVEL


def compare(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> PairedDifference:
    """Compare which images each of two classifiers gets right.

    Images that both get right or both get wrong do not affect the difference, so the paired
    interval is much narrower than two separate ones. It is Agresti and Min's interval (Statistics
    in Medicine 24, 2005): Wald's interval after half an image is added to each of the four cells,
    which keeps the coverage near 95 % for few images as well.

    Args:
        first: bool, shape (n,): whether the first classifier is right on each image.
        second: bool, shape (n,): the same for the second, with the images in the same order.
    """
    n = len(first)
    only_first = int(np.count_nonzero(first & ~second))
    only_second = int(np.count_nonzero(second & ~first))
    b, c, total = only_first + 0.5, only_second + 0.5, n + 2
    centre = (b - c) / total
    spread = Z_95 * math.sqrt((b + c) - (b - c) ** 2 / total) / total
    return PairedDifference(
        n=n,
        only_first=only_first,
        only_second=only_second,
        difference=(only_first - only_second) / n,
        interval_95=(max(-1.0, centre - spread), min(1.0, centre + spread)),
        p_value=_mcnemar_exact(only_first, only_second),
    )


def _mcnemar_exact(b: int, c: int) -> float:
    """Return the two-sided p-value of `b` heads and `c` tails of a fair coin."""
    term = tail = 1  # binomial coefficients are summed as integers, which cannot underflow
    for k in range(min(b, c)):
        term = term * (b + c - k) // (k + 1)
        tail += term
    return min(1.0, tail / (1 << (b + c)) * 2)
