"""Batches of rows: cuts large arrays into requests, and keeps the order of the answers."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

DEFAULT_BATCH = 32
DEFAULT_IN_FLIGHT = 4

# Arrays by input name. The rows of all arrays of one mapping belong together.
Arrays = Mapping[str, np.ndarray]


class Batch(NamedTuple):
    """The inputs of one request.

    Attributes:
        rows: The rows, counted from 0 over all batches.
        inputs: Arrays by input name, each with these rows.
    """

    rows: range
    inputs: dict[str, np.ndarray]


def check_sizes(batch: int, in_flight: int) -> None:
    """Check the arguments of `predict_batches`.

    Raises:
        ValueError: one of them is below 1.
    """
    for name, value in (("batch", batch), ("in_flight", in_flight)):
        if value < 1:
            msg = f"{name} is {value}, expected 1 or more"
            raise ValueError(msg)


def batches(inputs: Arrays | Iterable[Arrays], batch: int) -> Iterator[Batch]:
    """Yield batches of at most `batch` rows.

    Args:
        inputs: Arrays by input name, or several such mappings one after another. Arrays of one
            mapping have equally many rows. Rows of two mappings never share a batch.
        batch: Most rows of a batch.

    Raises:
        TypeError: `inputs` are neither a mapping nor an iterable of mappings.
        ValueError: an array has no rows, or another number of rows than others of its mapping.
    """
    first = 0
    for arrays in [inputs] if isinstance(inputs, Mapping) else _mappings(inputs):
        count = _row_count(arrays, first)
        for start in range(0, count, batch):
            stop = min(start + batch, count)
            cut = {name: np.asarray(array)[start:stop] for name, array in arrays.items()}
            yield Batch(range(first + start, first + stop), cut)
        first += count


def _mappings(inputs: Iterable[Arrays]) -> Iterator[Arrays]:
    # An array can be iterated, too, but its rows are no mappings.
    if isinstance(inputs, np.ndarray):
        msg = (
            "inputs are an array, expected a mapping of input names to arrays, for example "
            '{"images": array}, or several of them; `signatures` tells the names'
        )
        raise TypeError(msg)
    for position, arrays in enumerate(inputs):
        if not isinstance(arrays, Mapping):
            msg = (
                f"item {position} of the inputs is of type {type(arrays).__name__}, expected a "
                'mapping of input names to arrays, for example {"images": array}'
            )
            raise TypeError(msg)
        yield arrays


def _row_count(arrays: Arrays, first: int) -> int:
    """Return the number of rows of a mapping.

    Args:
        arrays: The mapping.
        first: Number of its first row, for the message.

    Raises:
        ValueError: an array has no first dimension, or the arrays differ in their number of rows.
    """
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    counts = {shape[:1] for shape in shapes.values()}
    if len(counts) != 1 or () in counts:
        received = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no array"
        msg = (
            f"the inputs from row {first} on are {received}; expected arrays whose first dimension "
            "counts the same rows; call `predict` for inputs without rows"
        )
        raise ValueError(msg)
    return int(counts.pop()[0])
