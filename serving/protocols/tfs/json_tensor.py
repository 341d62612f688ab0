"""Convert tensors between JSON and NumPy, by TensorFlow Serving's rules (util/json_tensor.cc).

The rules are stricter than JSON: 1.0 is not an integer and true is not a number. Any number can be
a float: it is rounded to the dtype, and becomes infinity if it is beyond the dtype's range. Values
that TensorFlow Serving would wrap around, such as 256 for uint8, are refused.

Values are checked and converted list by list, never one by one: the values of a tensor are chained
into one flat list, whose types and shape are checked with a few passes in C. Only if a request is
refused are its values examined one by one, to name the first wrong value.
"""

import base64
import binascii
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from serving.errors import InvalidInput, Unsupported
from serving.protocols.tfs.json_text.quote import Json, quote, text, type_name
from serving.tensors import bfloat16
from serving.tensors.signature import DataType, TensorSpec

_BINARY_KEY = "b64"
_BINARY_SUFFIX = "_bytes"
# NumPy's own limit is 64. No model has so many dimensions, and the limit keeps `_find_mistake`'s
# recursion shallow.
_MAX_RANK = 32
_CHECKED_TOGETHER = 1024
_WHITESPACE = str.maketrans("", "", " \t\n\v\f\r")


class RowMistake(NamedTuple):
    """The mistake in the first wrong row of a request.

    Attributes:
        position: Index of the row, from 0.
        text: Description of the mistake, for the error message.
    """

    position: int
    text: str


def to_array(value: Json, alias: str, spec: TensorSpec) -> np.ndarray:
    """Convert the JSON of a whole tensor to an array of the dtype of `spec`.

    Raises:
        InvalidInput: the lists are ragged, or a value does not fit the dtype.
        Unsupported: the dtype has no JSON form.
    """
    array = try_array(value, spec)
    if array is None:
        mistake = _find_mistake(value, _shape_of(value), spec.dtype)
        msg = f"{mistake}; {expected(alias, spec)}"
        raise InvalidInput(msg)
    return array


def try_array(value: Json, spec: TensorSpec) -> np.ndarray | None:
    """Convert like `to_array`, but return None if lists are ragged or a value does not fit.

    Raises:
        Unsupported: the dtype has no JSON form.
    """
    shape: list[int] = []
    flat = [value]
    while type(flat[0]) is list:
        lengths = set(map(len, flat)) if set(map(type, flat)) == {list} else set()
        if len(lengths) != 1 or len(shape) == _MAX_RANK:
            return None
        shape.append(lengths.pop())
        flat = list(chain.from_iterable(flat)) if len(flat) > 1 else flat[0]
        if not flat:
            return np.empty((*shape, *_sizes_behind(len(shape), spec)), spec.dtype.numpy)
    array = convert(flat, spec.dtype)
    return array if array is None else array.reshape(shape)


def _sizes_behind(depth: int, spec: TensorSpec) -> tuple[int, ...]:
    """Return the declared sizes of the dimensions inside an empty list: `[]` may be (0, 3).

    Returns:
        The sizes of the dimensions after the first `depth`; empty if one of them is not declared.
    """
    sizes = (spec.shape or ())[depth:]
    return () if -1 in sizes else sizes


def convert(flat: Sequence[Json], dtype: DataType) -> np.ndarray | None:
    """Convert values to a flat array; return None if one of them does not fit the dtype.

    Raises:
        Unsupported: the dtype has no JSON form.
    """
    types = set(map(type, flat))
    kind = dtype.numpy.kind
    if kind == "c":
        msg = f"Conversion of JSON Value: {text(flat[0])} to type: {dtype.label}"
        raise Unsupported(msg)
    if kind == "O":
        return _convert_strings(flat) if types <= {str, dict} else None
    if kind == "b":
        return np.array(flat, np.bool_) if types == {bool} else None
    if kind in "iu":
        return _convert_integers(flat, dtype) if types == {int} else None
    return _convert_floats(flat, dtype) if types <= {int, float} else None


def _convert_integers(flat: Sequence[int], dtype: DataType) -> np.ndarray | None:
    try:
        if dtype is DataType.DT_UINT8:
            return np.frombuffer(bytes(flat), np.uint8)  # five times as fast as np.array
        return np.array(flat, dtype.numpy)
    except (OverflowError, ValueError):
        return None


def _convert_floats(flat: Sequence[float], dtype: DataType) -> np.ndarray:
    # Convert through float64: TensorFlow Serving reads every number as a double.
    doubles = np.array(flat, np.float64)
    with np.errstate(over="ignore"):
        if dtype is DataType.DT_BFLOAT16:
            return bfloat16.from_floats(doubles)
        return doubles.astype(dtype.numpy, copy=False)


def _convert_strings(flat: Sequence[Json]) -> np.ndarray | None:
    values: list[bytes] = []
    for value in flat:
        # The reader keeps a byte that is not UTF-8 as a lone surrogate; this restores the byte.
        content = binary(value) if type(value) is dict else value.encode(errors="surrogateescape")
        if content is None:
            return None
        values.append(content)
    array = np.empty(len(values), object)
    array[:] = values
    return array


def binary(value: Json) -> bytes | None:
    """Return the bytes of a `{"b64": "..."}` object; None for other values and wrong base64."""
    if is_object(value):
        return None
    digits = value[_BINARY_KEY]
    content = _decode(digits)
    # TensorFlow Serving ignores white space in base64.
    return _decode(digits.translate(_WHITESPACE)) if content is None else content


def _decode(digits: str) -> bytes | None:
    """Decode base64 with or without padding; return None if it is malformed."""
    bare = digits.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def is_object(value: Json) -> bool:
    """Whether a value is an object, but not a `{"b64": "..."}` binary string."""
    return isinstance(value, dict) and not (
        len(value) == 1 and isinstance(value.get(_BINARY_KEY), str)
    )


# Finding what is wrong


def find_row_mistake(rows: Sequence[Json], dtype: DataType) -> RowMistake | None:
    """Find the first row that has a value that does not fit, or another shape than the first."""
    first = _shape_of(rows[0])
    for position, row in _suspects(rows, first, dtype):
        shape = _shape_of(row)
        mistake = _find_mistake(row, shape, dtype)
        if not mistake and math.prod(shape) != math.prod(first):
            mistake = f"Expecting tensor size: {math.prod(first)} but got: {math.prod(shape)}"
        elif not mistake and shape != first:
            mistake = f"Expecting shape {_shape_text(first)} but got: {_shape_text(shape)}"
        if mistake:
            return RowMistake(position, mistake)
    return None


def expected(alias: str, spec: TensorSpec) -> str:
    """Describe the dtype and shape that an input takes, for error messages."""
    return f'input "{alias}" takes {spec.dtype.name} {spec.shape_text}'


def _shape_of(value: Json) -> list[int]:
    """Return the shape of a value's first elements, which is its shape unless it is ragged."""
    shape: list[int] = []
    while isinstance(value, list) and len(shape) <= _MAX_RANK:
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _shape_text(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _find_mistake(value: Json, shape: Sequence[int], dtype: DataType, level: int = 0) -> str:
    """Describe the mistake in a value that should have a shape and dtype; empty if it has none."""
    rank = len(shape)
    if rank > _MAX_RANK:
        return f"lists are nested deeper than {_MAX_RANK} levels"
    if not isinstance(value, list):
        if level != rank:
            return (
                f"{quote(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        return _find_wrong_value(value, dtype)
    if level >= rank:
        return f"Encountered list at unexpected level: {level} expected < {rank}"
    if len(value) != shape[level]:
        return (
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    mistakes = (
        _find_mistake(element, shape, dtype, level + 1)
        for _, element in _suspects(value, shape[level + 1 :], dtype)
    )
    return next(filter(None, mistakes), "")


def _suspects(
    values: Sequence[Json], shape: Sequence[int], dtype: DataType
) -> Iterator[tuple[int, Json]]:
    """Yield the elements of a list that may be wrong, with their positions.

    Chunks of 1024 elements that all fit are skipped: checking each value by itself would take a
    hundred times as long as reading the request.
    """
    for start in range(0, len(values), _CHECKED_TOGETHER):
        chunk = values[start : start + _CHECKED_TOGETHER]
        if not _fits(chunk, shape, dtype):
            yield from enumerate(chunk, start)


def _fits(values: Sequence[Json], shape: Sequence[int], dtype: DataType) -> bool:
    """Whether all values have the shape and fit the dtype."""
    flat = values
    for size in shape:
        if set(map(type, flat)) != {list} or set(map(len, flat)) != {size}:
            return False
        flat = list(chain.from_iterable(flat))
    return not flat or convert(flat, dtype) is not None


def _find_wrong_value(value: Json, dtype: DataType) -> str:
    if convert([value], dtype) is not None:
        return ""
    if isinstance(value, dict) and dtype is DataType.DT_STRING:
        if is_object(value):
            return f"{quote(value)} not formatted correctly for base64 data"
        return "Unable to base64 decode"
    kind = dtype.numpy.kind
    message = f"{quote(value)} Type: {type_name(value)} is not of expected type: {dtype.label}"
    if kind in "iu" and type(value) is int:
        limits = np.iinfo(dtype.numpy)
        message += f" ({limits.min} to {limits.max})"
    elif kind in "iu" and type(value) is float:
        message += " (an integer, written without a decimal point)"
    return message


# Writing


def to_json(alias: str, array: np.ndarray, *, finite: bool) -> Json:
    """Convert an array to a form that the JSON writer takes.

    Args:
        alias: Alias of the output; if it ends in `_bytes`, strings are written in base64.
        array: The output.
        finite: Whether all outputs are free of NaN and infinities, which orjson cannot write.

    Raises:
        InvalidInput: the dtype has no JSON form.
    """
    kind = array.dtype.kind
    if kind == "c":
        msg = f"Failed to write JSON value for tensor type: {array.dtype} of output {alias}"
        raise InvalidInput(msg)
    if kind in "OSU":
        return _encodable_strings(array, binary=is_binary(alias))
    if finite:
        # ONNX Runtime's int64 arrays have C's `long long`, whose scalars orjson does not know. The
        # view has the same type under NumPy's usual name. Rows of several outputs have scalars.
        array = np.ascontiguousarray(array).reshape(array.shape).view(array.dtype.str)
        return array if array.ndim else array[()]
    if kind == "f":
        # Convert through text, so that 0.1 as float32 becomes 0.1 and not 0.10000000149.
        return array.astype(np.str_).astype(np.float64).tolist()
    return array.tolist()


def is_binary(alias: str) -> bool:
    """Whether the strings of an output are written in base64: its alias ends in `_bytes`."""
    return alias.endswith(_BINARY_SUFFIX)


def _encodable_strings(array: np.ndarray, *, binary: bool) -> Json:
    values = np.empty(array.size, object)
    values[:] = [_encodable_string(value, binary=binary) for value in array.ravel()]
    return values.reshape(array.shape).tolist()


def _encodable_string(value: bytes | str, *, binary: bool) -> Json:
    content = value.encode() if isinstance(value, str) else value
    if not binary:
        try:
            return content.decode()
        except UnicodeDecodeError:
            pass  # a JSON string must be text; base64 keeps every byte
    return {_BINARY_KEY: base64.b64encode(content).decode()}
