"""The predictions of a model as metrics.json holds them: a class index for each row of the data."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_MOST_DIGITS = 10


def encode(classes: npt.NDArray[np.int64], count: int) -> str | list[int]:
    """The predictions for JSON: one digit each if there are up to ten classes, else integers.

    Args:
        classes: The predicted classes, int64, shape (n,).
        count: Number of classes of the model.
    """
    if count <= _MOST_DIGITS:
        return "".join(str(index) for index in classes)
    return [int(index) for index in classes]


def decode(recorded: str | Sequence[int]) -> npt.NDArray[np.int64]:
    """The predicted classes, int64, shape (n,), of either form that `encode` returns.

    Raises:
        ValueError, TypeError: an entry is not an integer.
    """
    return np.array([int(index) for index in recorded], np.int64)
