"""The predictions of a model as metrics.json holds them: a class index for each row of the data.

Another processor rounds otherwise, and the arithmetic of int8 may even be another one, so that it
may decide a near tie the other way. The classes that may win on another machine are recorded, too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

TIE_MARGIN = 0.2
"""How far the probability of a class may be below the highest one for a near tie.

The largest margin at which an answer changed was 0.09: ResNet50 in int8 on 10,000 images, on
processors with and without VNNI.
"""

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


def near_ties(
    probabilities: npt.NDArray[np.floating[Any]], classes: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """The near ties for JSON: `margin`, and `others`, the classes that nearly won.

    `others` is a text, "549:3 1201:2,7": class 3 nearly won row 549, classes 2 and 7 row 1201.

    Args:
        probabilities: Of each row and class, float, shape (n, classes).
        classes: The recorded classes, int64, shape (n,). They may be those of another machine.
    """
    near = probabilities >= probabilities.max(axis=1, keepdims=True) - TIE_MARGIN
    near[np.arange(len(classes)), classes] = False
    rows = np.flatnonzero(near.any(axis=1)).tolist()
    others = (f"{row}:{','.join(map(str, np.flatnonzero(near[row])))}" for row in rows)
    return {"margin": TIE_MARGIN, "others": " ".join(others)}


def decode_near_ties(recorded: Mapping[str, Any], rows: int) -> npt.NDArray[np.int64]:
    """The classes that nearly won, int64, shape (rows, most of a row); -1 at unused places.

    Args:
        recorded: What `near_ties` returned.
        rows: Number of rows of the data.

    Raises:
        KeyError, ValueError, AttributeError, IndexError: it is something else.
    """
    others = (entry.split(":") for entry in recorded["others"].split())
    by_row = {int(row): decode(classes.split(",")) for row, classes in others}
    found = np.full((rows, max(map(len, by_row.values()), default=0)), -1, np.int64)
    for row, classes in by_row.items():
        found[row, : len(classes)] = classes
    return found
