"""Fits arrays to the inputs of a model: names, shapes and dtypes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from loadtest.rows.dataset import Array
from loadtest.settings.config import UsageError
from loadtest.transports.api import TEXT, ModelInput

# NumPy's kinds of dtypes.
_TEXTS, _INTEGERS, _FLOATS = "SUO", "iu", "f"
_BFLOAT16 = "bfloat16"


def fit(
    arrays: Mapping[str, Array],
    inputs: Sequence[ModelInput] | None,
    *,
    model: str,
    batch: int,
    where: str,
) -> tuple[tuple[ModelInput, ...], dict[str, Array], int]:
    """Return the inputs, their arrays with values that their dtypes hold, and the number of rows.

    Args:
        arrays: Arrays by input name. The name "" is that of the only input of a model.
        inputs: The inputs of the model; None to derive them from the arrays.
        model: Name of the model, for messages.
        batch: Rows in a request.
        where: Where the arrays come from, for messages.

    Raises:
        UsageError: A name, a shape or a dtype does not fit.
    """
    known = tuple(inputs) if inputs is not None else tuple(map(_derived, arrays.items()))
    if len(known) == 1 and "" in arrays:
        arrays = {known[0].name: arrays[""]}
    if arrays.keys() != {one.name for one in known}:
        msg = f"{where} has {_names(arrays)}, but model {model!r} takes {_names(known)}"
        raise UsageError(msg)
    check_batch(known, model=model, batch=batch)
    fitted = {
        one.name: _checked(_shaped(arrays[one.name], one, where), one, where) for one in known
    }
    counts = {name: len(array) for name, array in fitted.items() if array.ndim}
    rows = next(iter(counts.values()), 1)
    if set(counts.values()) - {rows}:
        listed = ", ".join(f'"{name}" {count:,}' for name, count in counts.items())
        msg = f"{where} has different numbers of rows, expected the same: {listed}"
        raise UsageError(msg)
    if not rows:
        msg = f"{where} has no rows, expected one or more"
        raise UsageError(msg)
    fixed = fixed_batch(known)
    if fixed is not None and rows % fixed:
        msg = (
            f"{where} has {rows:,} rows, but model {model!r} takes {fixed} in every request; "
            f"expected a multiple of {fixed}"
        )
        raise UsageError(msg)
    return known, fitted, rows


def check_batch(inputs: Iterable[ModelInput], *, model: str, batch: int) -> None:
    """Check that a model takes the batch.

    Raises:
        UsageError: An input takes another number of rows, or no batch at all.
    """
    for one in inputs:
        if one.shape is None:
            continue
        taken = one.shape[0] if one.shape else 1
        if taken not in (-1, batch):
            msg = (
                f'input "{one.name}" of model {model!r} has shape {one.shape}, '
                f"which does not take {batch} rows; pass --batch {taken}"
            )
            raise UsageError(msg)


def fixed_batch(inputs: Iterable[ModelInput]) -> int | None:
    """Return the number of rows that a model takes in every request; None if it takes any."""
    return next((one.shape[0] for one in inputs if one.shape and one.shape[0] > 0), None)


def _derived(named: tuple[str, Array]) -> ModelInput:
    name, array = named
    dtype = TEXT if array.dtype.kind in _TEXTS else array.dtype.name
    return ModelInput(name, dtype, (-1, *array.shape[1:]) if array.ndim else ())


def _shaped(array: Array, known: ModelInput, where: str) -> Array:
    """Check the shape of an array; the first dimension counts the rows."""
    if known.shape is None:
        return array
    expected = known.shape and (-1, *known.shape[1:])
    if len(array.shape) != len(expected) or any(
        size not in (-1, found) for size, found in zip(expected, array.shape, strict=True)
    ):
        told = " (no dimensions)" if not expected else ""
        msg = (
            f'input "{known.name}" in {where} has shape {array.shape}, expected {expected}{told}; '
            "the first dimension counts the rows"
        )
        raise UsageError(msg)
    return array


def _checked(array: Array, known: ModelInput, where: str) -> Array:
    """Return an array whose values the dtype of an input can hold; texts become bytes.

    Integers may become floats, and numbers narrower ones of their kind. Floats become no integers.
    The request's encoding converts the numbers.
    """
    kind = array.dtype.kind
    if known.dtype == TEXT and kind in _TEXTS:
        return _texts(array, known, where)
    if known.dtype == "bool" and kind == "b":
        return array
    if known.dtype == _BFLOAT16 and kind in _INTEGERS + _FLOATS:
        return array
    wanted = _dtype(known.dtype)
    if wanted is not None and wanted.kind in "fc" and kind in _INTEGERS + _FLOATS + wanted.kind:
        return array
    if wanted is not None and wanted.kind in _INTEGERS and kind in _INTEGERS:
        narrow = array.astype(wanted)
        if (narrow == array).all() and ((narrow < 0) == (array < 0)).all():
            return array
        limits = np.iinfo(known.dtype)
        msg = (
            f'input "{known.name}" in {where} has values from {array.min()} to {array.max()}, '
            f"expected {limits.min} to {limits.max} ({known.dtype})"
        )
        raise UsageError(msg)
    held = "texts" if kind in _TEXTS else array.dtype.name
    msg = f'input "{known.name}" in {where} holds {held}, expected {known.dtype}'
    raise UsageError(msg)


def _texts(array: Array, known: ModelInput, where: str) -> Array:
    """Return texts as an array of dtype object with elements of type bytes, in UTF-8."""
    texts = np.empty(array.shape, object)
    for place, text in np.ndenumerate(array):
        if not isinstance(text, str | bytes):
            msg = (
                f'input "{known.name}" in {where} holds {text!r} among texts, expected texts alone'
            )
            raise UsageError(msg)
        texts[place] = text.encode() if isinstance(text, str) else bytes(text)
    return texts


def _dtype(name: str) -> "np.dtype[Any] | None":
    try:
        return np.dtype(name)
    except TypeError:
        return None


def _names(known: Iterable[ModelInput | str]) -> str:
    names = sorted(one if isinstance(one, str) else one.name for one in known)
    listed = ", ".join(f'"{name}"' if name else "values without a name" for name in names)
    return f"{'inputs' if len(names) > 1 else 'input'} {listed}" if listed else "no input"
