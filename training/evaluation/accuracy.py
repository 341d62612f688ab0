"""Accuracy with its confidence interval. Needs only NumPy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.cifar10 import CLASS_NAMES

_BINS = 15
Z_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Result on one split.

    Attributes:
        n: Number of images.
        top1: Share classified correctly, 0 to 1.
        top1_wilson_95: Lower and upper bound of the 95 % Wilson interval of `top1`.
        balanced_accuracy: Mean of the accuracies of the classes that have images.
        macro_f1: Mean of the F1 scores (harmonic mean of precision and recall) of the classes that
            have images; 0 for one that is never predicted.
        calibration_error: Expected calibration error of the predicted class' probability, with 15
            bins of equal width (Guo et al., "On Calibration of Modern Neural Networks", 2017).
        loss: Mean cross-entropy in nats, without label smoothing.
        per_class_accuracy: Share of each class' images classified correctly; None without images.
        confusion_matrix: Counts; row = label, column = prediction, in the order of the
            classes.
    """

    n: int
    top1: float
    top1_wilson_95: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    calibration_error: float
    loss: float
    per_class_accuracy: dict[str, float | None]
    confusion_matrix: list[list[int]]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as values for JSON."""
        return {**vars(self), "top1_wilson_95": list(self.top1_wilson_95)}


def score(
    logits: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    classes: npt.NDArray[np.int64] | None = None,
    class_names: Sequence[str] = CLASS_NAMES,
) -> Evaluation:
    """Score logits against labels.

    Args:
        logits: float32, shape (n, number of classes).
        labels: int64, shape (n,).
        classes: int64, shape (n,): predicted classes; by default those of the largest logits.
        class_names: Names of the classes in the order of the logits.

    Returns:
        The evaluation; softmax and logarithm are computed in float64.
    """
    answered = logits.argmax(axis=1) if classes is None else classes
    matrix = np.zeros((len(class_names), len(class_names)), dtype=np.int64)
    np.add.at(matrix, (labels, answered), 1)
    correct, totals = matrix.diagonal(), matrix.sum(axis=1)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    n = len(labels)
    seen, predicted = totals > 0, matrix.sum(axis=0)
    confidence = np.exp(shifted[np.arange(n), answered] - log_sum)
    return Evaluation(
        n=n,
        top1=int(correct.sum()) / n,
        top1_wilson_95=wilson_interval(int(correct.sum()), n),
        balanced_accuracy=float((correct[seen] / totals[seen]).mean()),
        macro_f1=float((2 * correct[seen] / (totals[seen] + predicted[seen])).mean()),
        calibration_error=calibration_error(confidence, answered == labels),
        loss=float((log_sum - shifted[np.arange(n), labels]).mean()),
        per_class_accuracy={
            name: int(right) / int(total) if total else None
            for name, right, total in zip(class_names, correct, totals, strict=True)
        },
        confusion_matrix=matrix.tolist(),
    )


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return probabilities, float64, of logits, float32 (n, classes)."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def calibration_error(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    """Return the expected calibration error, see Evaluation.

    Args:
        confidence: Probability of each predicted class, 0 to 1, shape (n,).
        right: Whether each prediction is right, shape (n,).

    Returns:
        The mean distance between confidence and accuracy of a bin, weighted by its images: 0 to 1.
    """
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (E. B. Wilson, JASA 22, 1927).

    Args:
        correct: Number of successes, 0 to n.
        n: Number of trials, 1 or more.

    Returns:
        Lower and upper bound. Unlike the normal approximation, they stay within 0 and 1.
    """
    share, z2 = correct / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    spread = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - spread), min(1.0, centre + spread)
