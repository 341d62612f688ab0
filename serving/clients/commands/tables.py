"""Tables of plain text with aligned columns, and the values in them."""

from collections.abc import Mapping, Sequence

import numpy as np

from serving.tensors import bfloat16

_GAP = "  "
# Rows of an output with more values are cut: a table should fit a terminal.
_MOST_VALUES = 10

Cell = str | int | float


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table; columns of numbers are aligned to the right, others to the left."""
    texts = [list(header), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    numeric = [
        bool(rows) and all(isinstance(row[at], int | float) for row in rows)
        for at in range(len(header))
    ]
    lines = (
        _GAP.join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in texts
    )
    return "\n".join(lines)


def outputs_table(outputs: Mapping[str, np.ndarray], names: Sequence[str] | None) -> str:
    """Return the table of a Predict's outputs: a line for each row, or for each output.

    Args:
        outputs: Arrays by output name.
        names: Names of the rows; None for their numbers from 0.
    """
    arrays = {name: bfloat16.to_floats(array) for name, array in sorted(outputs.items())}
    counts = {array.shape[:1] for array in arrays.values()}
    if len(counts) != 1 or () in counts:
        rows = [
            (name, array.dtype.name, str(array.shape), _values(array))
            for name, array in arrays.items()
        ]
        return table(("output", "dtype", "shape", "values"), rows)
    ((count,),) = counts
    if names is None or len(names) != count:
        labels: Sequence[Cell] = range(count)
        first = "row"
    else:
        labels, first = names, "picture"
    lines = [
        (label, *(_cell(array[at]) for array in arrays.values())) for at, label in enumerate(labels)
    ]
    return table((first, *arrays), lines)


def printable(text: str) -> str:
    """Return a text without line breaks and control characters, which are escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _text(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return printable(str(cell))


def _cell(value: np.ndarray) -> Cell:
    """Return one row of an output."""
    array = np.asarray(value)
    if array.ndim:
        return _values(array)
    scalar = array[()]
    if isinstance(scalar, bytes):
        return scalar.decode(errors="backslashreplace")
    if array.dtype.kind in "iuf":
        number: int | float = scalar.item()
        return number
    return str(scalar)


def _values(array: np.ndarray) -> str:
    """Return the values of an array, or the first of many with their number."""
    flat = array.ravel()
    shown = " ".join(_text(_cell(value)) for value in flat[:_MOST_VALUES])
    return shown if flat.size <= _MOST_VALUES else f"{shown} ... ({flat.size} values)"
