"""Triton's classification extension: an output as its best classes, instead of all its values.

Follows Triton's extension_classification.md: each class is the text `value:index` or, if the model
has class names, `value:index:name`, and the best class comes first.
"""

import math
from collections.abc import Mapping

import numpy as np

from serving.errors import InvalidInput
from serving.inference.request import Prediction

PARAMETER = "classification"
# Above these sizes, sorting values or writing texts would hold up the event loop. Triton has the
# first limit, too.
_MAX_VALUES = 1_000_000
_MAX_TEXTS = 100_000


def count_of(tensor: str, value: object) -> int:
    """Return the number of classes that a parameter asks for; 0 for none, as without it.

    Args:
        tensor: `output "y"`, for the error message.
        value: Value of the parameter `classification`.

    Raises:
        InvalidInput: it is not a whole number of at least 0.
    """
    if type(value) is not int or value < 0:
        msg = f"parameter {PARAMETER} of {tensor} is {value!r}, expected a whole number"
        raise InvalidInput(msg)
    return value


def classified(prediction: Prediction, counts: Mapping[str, int]) -> Prediction:
    """Return a prediction with some outputs as their best classes.

    Args:
        prediction: The prediction.
        counts: Number of classes by output alias. An output has the shape (batch, classes) if
            requests to the signature share runs; otherwise all its values are one row, and the
            shape is (classes,).

    Raises:
        InvalidInput: an output has no numbers that can be ranked, or too many.
    """
    servable, outputs = prediction.servable, dict(prediction.outputs)
    batched = servable.batched[prediction.signature_name]
    for alias, count in counts.items():
        if count and alias in outputs:
            array = outputs[alias]
            texts = _best(
                alias, array, count, servable.class_names, rows=batched and array.ndim > 0
            )
            outputs[alias] = texts if batched and array.ndim > 0 else texts[0]
    return prediction._replace(outputs=outputs)


def _best(
    alias: str, array: np.ndarray, count: int, names: tuple[str, ...], *, rows: bool
) -> np.ndarray:
    """Return the best classes of each row as an array of `bytes`, shape (rows, classes).

    Raises:
        InvalidInput: see `classified`.
    """
    number = len(array) if rows else 1
    classes = math.prod(array.shape[1:] if rows else array.shape)
    count = min(count, classes)
    if array.dtype.kind not in "fiu":
        msg = f'output "{alias}" has {array.dtype}, expected numbers for {PARAMETER}'
        raise InvalidInput(msg)
    if array.size > _MAX_VALUES or number * count > _MAX_TEXTS:
        msg = (
            f'output "{alias}" has {number} rows of {classes} values, and {count} classes of each '
            f"are asked for; expected at most {_MAX_VALUES} values and {_MAX_TEXTS} classes; ask "
            f"for the values without {PARAMETER}"
        )
        raise InvalidInput(msg)
    values = array.reshape(number, classes)
    # Sorting the reversed rows keeps equal values in the order of their indices.
    order = (classes - 1 - np.argsort(values[:, ::-1], axis=1, kind="stable")[:, ::-1])[:, :count]
    known = names if len(names) == classes else ()
    texts = np.empty((number, count), dtype=object)
    for row, indices in enumerate(order):
        texts[row] = [_text(values[row, index], index, known) for index in indices.tolist()]
    return texts


def _text(value: np.generic, index: int, names: tuple[str, ...]) -> bytes:
    number = f"{float(value):f}" if value.dtype.kind == "f" else str(value)
    label = f":{names[index]}" if names else ""
    return f"{number}:{index}{label}".encode()
