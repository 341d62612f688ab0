"""Reads one batch of CIFAR-10's Python layout, a pickle, safely.

A pickle can call any function that it names. This reader replaces the few names that the official
files and copies of them use by harmless functions, and refuses every other name. The replacements
also avoid the warnings of today's NumPy about the module paths and arguments of 2009.
"""

import io
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

_SHAPE = (10_000, 3_072)
# Exceptions of NumPy and pickle on damaged content, besides ValueError.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    TypeError,
    pickle.UnpicklingError,
)


def parse(content: bytes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Read a batch.

    Args:
        content: Content of the file, a pickled dict with "data" and "labels".

    Returns:
        The red, green and blue plane of each image: uint8, shape (10000, 3072); and the labels,
        whose range is not checked: int64, shape (10000,).

    Raises:
        ValueError: The content is no such pickle, or names functions other than those of arrays;
            the message says what was found.
    """
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        # Python 2 wrote the official files, so keys are bytes; a copy made by Python 3 has str.
        batch = {key.decode() if isinstance(key, bytes) else key: batch[key] for key in batch}
        planes, labels = batch["data"], np.asarray(batch["labels"])
    except _DAMAGE as error:
        msg = f"{type(error).__name__}: {error}"
        raise ValueError(msg) from error
    shape, dtype = getattr(planes, "shape", None), getattr(planes, "dtype", None)
    if shape != _SHAPE or dtype != np.uint8:
        msg = f"it holds images of shape {shape} and type {dtype}, expected {_SHAPE} and uint8"
        raise ValueError(msg)
    if labels.shape != _SHAPE[:1] or labels.dtype.kind not in "iu":
        found = f"labels of shape {labels.shape} and type {labels.dtype}"
        msg = f"it holds {found}, expected {_SHAPE[:1]} and integers"
        raise ValueError(msg)
    return planes, labels.astype(np.int64)


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:  # noqa: ANN401  typeshed's type
        name = f"{module_name}.{global_name}"
        if name not in _STAND_INS:
            msg = f"it names {name}, which no CIFAR-10 batch needs; it was not called"
            raise pickle.UnpicklingError(msg)
        return _STAND_INS[name]


def _empty_array(*_: object) -> npt.NDArray[np.uint8]:
    return np.empty(0, np.uint8)  # the pickle then sets shape, type and bytes as the array's state


def _array_of_buffer(buffer: bytes, dtype: np.dtype[Any], shape: Any, order: str) -> Any:  # noqa: ANN401  checked by parse
    return np.frombuffer(buffer, dtype).reshape(shape, order="F" if order == "F" else "C")


def _dtype(code: str | bytes, *_: object) -> np.dtype[Any]:
    return np.dtype(code.decode("ascii") if isinstance(code, bytes) else code)


def _latin1(text: str, *_: object) -> bytes:
    return text.encode("latin1")  # Python 3 writes bytes as such a call in protocol 2


_STAND_INS: dict[str, object] = {
    "numpy.core.multiarray._reconstruct": _empty_array,
    "numpy._core.multiarray._reconstruct": _empty_array,
    "numpy.core.numeric._frombuffer": _array_of_buffer,
    "numpy._core.numeric._frombuffer": _array_of_buffer,
    "numpy.ndarray": "ndarray",  # only passed to _reconstruct, which ignores it
    "numpy.dtype": _dtype,
    "_codecs.encode": _latin1,
}
