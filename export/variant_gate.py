"""The gate of the variants: how far one may be from the float32 model that it stands for.

A variant is another precision of the same model. It rounds, so its answers cannot be compared
number by number as parity does; what counts is how often it names another class, and how many
right answers that costs.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.model_folder import Precision

_Z_95 = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a variant must keep to.

    Attributes:
        agreement: Smallest share of the images with the float32 model's class.
        drop_points: Largest loss of accuracy, in percentage points.
        must_be_faster: Whether it is of use only where it runs faster than the float32 model.
    """

    agreement: float
    drop_points: float
    must_be_faster: bool = False


LIMITS: Mapping[Precision, Limits] = {
    "fp16": Limits(agreement=0.998, drop_points=0.2),
    "w8": Limits(agreement=0.99, drop_points=0.2),
    "int8": Limits(agreement=0.985, drop_points=0.5, must_be_faster=True),
}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A variant's classes beside the float32 model's, on the same images.

    Attributes:
        agreement: Share of the images for which both name the same class, right or wrong.
        drop_points: Accuracy of the float32 model less the variant's, in percentage points.
        drop_interval_95: 95 % interval of that drop.
    """

    agreement: float
    drop_points: float
    drop_interval_95: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values for metrics.json."""
        return {**asdict(self), "drop_interval_95": list(self.drop_interval_95)}


def compare(
    reference: npt.NDArray[np.int64],
    candidate: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
) -> Comparison:
    """Compare two models' answers to the same n images, in pairs as McNemar's test does.

    With b images that the reference alone gets right and c that the candidate alone gets right, the
    drop is (b - c) / n. Images that both get right or wrong say nothing about it, so its interval
    is much narrower than those of the two accuracies. It is Wald's for paired proportions with half
    an image added to each of the four cells (A. Agresti, Y. Min: Simple improved confidence
    intervals for comparing matched proportions, Statistics in Medicine 24, 2005, 729-740), which
    keeps its coverage where b and c are small::

        b' = b + 1/2, c' = c + 1/2, n' = n + 2
        (b' - c') / n'  +-  1.96 * sqrt(b' + c' - (b' - c')^2 / n') / n'

    Args:
        reference: Classes named by the float32 model, int64, shape (n,), n >= 1.
        candidate: Classes named by the variant.
        labels: The right classes.
    """
    right, candidate_right = reference == labels, candidate == labels
    lost, won = int((right & ~candidate_right).sum()), int((candidate_right & ~right).sum())
    n = len(labels)
    b, c, total = lost + 0.5, won + 0.5, n + 2
    centre = (b - c) / total
    margin = _Z_95 * math.sqrt(b + c - (b - c) ** 2 / total) / total
    return Comparison(
        agreement=float((reference == candidate).mean()),
        drop_points=100 * (lost - won) / n,
        drop_interval_95=(100 * (centre - margin), 100 * (centre + margin)),
    )


def objections(limits: Limits, comparison: Comparison) -> list[str]:
    """What speaks against a variant: a phrase for each limit it breaks, such as "loses ..."."""
    found = []
    if comparison.agreement < limits.agreement:
        found.append(
            f"agrees with fp32 on {comparison.agreement:.2%} of the images, at least "
            f"{limits.agreement:.1%} expected"
        )
    if comparison.drop_points > limits.drop_points:
        low, high = comparison.drop_interval_95
        found.append(
            f"loses {comparison.drop_points:.2f} points of accuracy (95 % interval {low:.2f} to "
            f"{high:.2f}), at most {limits.drop_points:g} expected"
        )
    return found


def too_slow(speedups: Mapping[int, float]) -> list[str]:
    """Likewise for one that must be faster than the float32 model.

    Args:
        speedups: How many times as fast it is, by batch size.
    """
    return [
        f"runs {speedup:.2f} times as fast as fp32 at batch {batch}, more than 1 expected"
        for batch, speedup in speedups.items()
        if speedup <= 1
    ]
