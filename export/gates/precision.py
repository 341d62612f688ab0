"""The precision gate: how far a variant's answers may be from those of the float32 model.

A variant is another precision of the same model. It rounds, so its answers cannot be compared
number by number as parity does; what counts is how often it names another class, and how many
right answers that costs.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.repository.model_folder import Precision
from training.evaluation import paired


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds that a variant must keep to.

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

    The interval of the drop is that of `training.evaluation.paired`.

    Args:
        reference: Classes named by the float32 model, int64, shape (n,), n >= 1.
        candidate: Classes named by the variant.
        labels: The right classes.
    """
    lost = paired.compare(reference == labels, candidate == labels)
    low, high = lost.interval_95
    return Comparison(
        agreement=float((reference == candidate).mean()),
        drop_points=100 * lost.difference,
        drop_interval_95=(100 * low, 100 * high),
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
    """One phrase for each batch size at which the variant is not faster than float32.

    Args:
        speedups: How many times as fast it is, by batch size.
    """
    return [
        f"runs {speedup:.2f} times as fast as fp32 at batch {batch}, more than 1 expected"
        for batch, speedup in speedups.items()
        if speedup <= 1
    ]
