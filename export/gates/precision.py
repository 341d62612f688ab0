"""The precision gate: limits on how much a variant's answers differ from the float32 model's.

A variant is another precision of the same model. Because it rounds, its numbers cannot be compared
with a tolerance as the parity gate does. The gate limits how often the variant names another class,
and how much accuracy it loses. Of a model that was trained here it judges training images that the
training held out, so that the test images decide nothing.
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
    """Limits for a variant.

    Attributes:
        agreement: Smallest share of the images for which the variant names the float32 model's
            class.
        drop_points: Largest loss of accuracy, in percentage points.
        must_be_faster: Whether the variant must run faster than the float32 model.
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
    """The comparison of a variant's classes with the float32 model's, on the same images.

    Attributes:
        agreement: Share of the images for which both name the same class, right or wrong.
        drop_points: Accuracy of the float32 model minus the variant's, in percentage points; None
            without labels.
        drop_interval_95: 95 % interval of `drop_points`; None without labels.
    """

    agreement: float
    drop_points: float | None = None
    drop_interval_95: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values for metrics.json, without those that are None."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        if self.drop_interval_95 is not None:
            values["drop_interval_95"] = list(self.drop_interval_95)
        return values


def compare(
    reference: npt.NDArray[np.int64],
    candidate: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64] | None,
) -> Comparison:
    """Compare two models' answers to the same n images in pairs, as McNemar's test does.

    `training.evaluation.paired` computes the interval of the drop.

    Args:
        reference: Classes named by the float32 model, int64, shape (n,), n >= 1.
        candidate: Classes named by the variant, int64, shape (n,).
        labels: The right classes, int64, shape (n,); None if they are not known.
    """
    agreement = float((reference == candidate).mean())
    if labels is None:
        return Comparison(agreement=agreement)
    lost = paired.compare(reference == labels, candidate == labels)
    low, high = lost.interval_95
    return Comparison(
        agreement=agreement,
        drop_points=100 * lost.difference,
        drop_interval_95=(100 * low, 100 * high),
    )


def objections(
    limits: Limits, comparison: Comparison, *, reference: Precision = "fp32"
) -> list[str]:
    """One phrase for each limit that a variant breaks, such as "loses 0.60 points of ...".

    Args:
        limits: Limits for the variant.
        comparison: Comparison of the variant with the float32 model.
        reference: Name of the model that it was compared with, if that stands in for float32.
    """
    found = []
    if comparison.agreement < limits.agreement:
        found.append(
            f"agrees with {reference} on {comparison.agreement:.2%} of the images, at least "
            f"{limits.agreement:.1%} expected"
        )
    interval = comparison.drop_interval_95
    if interval and comparison.drop_points and comparison.drop_points > limits.drop_points:
        low, high = interval
        found.append(
            f"loses {comparison.drop_points:.2f} points of accuracy (95 % interval {low:.2f} to "
            f"{high:.2f}), at most {limits.drop_points:g} expected"
        )
    return found


def too_slow(speedups: Mapping[int, float]) -> list[str]:
    """One phrase for each batch size at which the variant is not faster than float32.

    Args:
        speedups: The variant's speed as a multiple of the float32 model's, by batch size.
    """
    return [
        f"runs {speedup:.2f} times as fast as fp32 at batch {batch}, more than 1 expected"
        for batch, speedup in speedups.items()
        if speedup <= 1
    ]
