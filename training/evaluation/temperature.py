"""The temperature that calibrates a classifier's probabilities (Guo et al., ICML 2017)."""

import numpy as np
import numpy.typing as npt

_STEPS = 60
_LOWEST, _HIGHEST = 0.05, 20.0


def fit(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Return the temperature for which the mean cross-entropy of logits / temperature is lowest.

    The cross-entropy is convex in 1 / temperature, so that a golden-section search finds it.

    Args:
        logits: float32, shape (n, classes).
        labels: int64, shape (n,).

    Returns:
        0.05 to 20; above 1 for a classifier that is too sure of itself.
    """
    low, high = 1 / _HIGHEST, 1 / _LOWEST
    ratio = (5**0.5 - 1) / 2
    for _ in range(_STEPS):
        first, second = high - ratio * (high - low), low + ratio * (high - low)
        if cross_entropy(logits, labels, first) < cross_entropy(logits, labels, second):
            high = second
        else:
            low = first
    return 2 / (low + high)


def cross_entropy(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], factor: float = 1.0
) -> float:
    """Return the mean cross-entropy in nats of logits that are multiplied with a factor."""
    scaled = factor * logits.astype(np.float64)
    scaled -= scaled.max(axis=1, keepdims=True)
    right = scaled[np.arange(len(labels)), labels]
    return float((np.log(np.exp(scaled).sum(axis=1)) - right).mean())
