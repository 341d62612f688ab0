"""Convert tensors between the Open Inference Protocol (KServe v2) and NumPy.

A tensor has a datatype, a shape, and its elements in row-major order in one of three forms:

- raw: little-endian bytes; a BYTES element is its length in four bytes, then its bytes
- typed: the field of `InferTensorContents` that belongs to the datatype; FP16 and BF16 have none
- JSON: see `json_tensors`

Follows the Open Inference Protocol (specification/protocol/inference_grpc.md) and Triton's binary
tensor data extension (extension_binary_data.md).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.errors import InvalidInput, Unsupported
from serving.protos.kserve_pb2 import InferTensorContents
from serving.tensors import bfloat16
from serving.tensors.admission import Admit, admit_all
from serving.tensors.bfloat16 import BFLOAT16
from serving.tensors.signature import DataType

# Complex numbers have no datatype in this protocol.
_NAMES = {
    DataType.DT_BOOL: "BOOL",
    DataType.DT_UINT8: "UINT8",
    DataType.DT_UINT16: "UINT16",
    DataType.DT_UINT32: "UINT32",
    DataType.DT_UINT64: "UINT64",
    DataType.DT_INT8: "INT8",
    DataType.DT_INT16: "INT16",
    DataType.DT_INT32: "INT32",
    DataType.DT_INT64: "INT64",
    DataType.DT_HALF: "FP16",
    DataType.DT_BFLOAT16: "BF16",
    DataType.DT_FLOAT: "FP32",
    DataType.DT_DOUBLE: "FP64",
    DataType.DT_STRING: "BYTES",
}
_DATA_TYPES = {name: data_type for data_type, name in _NAMES.items()}
_FIELDS = {
    DataType.DT_BOOL: "bool_contents",
    **dict.fromkeys((DataType.DT_UINT8, DataType.DT_UINT16, DataType.DT_UINT32), "uint_contents"),
    DataType.DT_UINT64: "uint64_contents",
    **dict.fromkeys((DataType.DT_INT8, DataType.DT_INT16, DataType.DT_INT32), "int_contents"),
    DataType.DT_INT64: "int64_contents",
    DataType.DT_FLOAT: "fp32_contents",
    DataType.DT_DOUBLE: "fp64_contents",
    DataType.DT_STRING: "bytes_contents",
}
# The dtype of the values in each typed field. It can be wider than the element type, so values are
# checked when they are narrowed: NumPy would wrap them around.
_FIELD_DTYPES: dict[str, np.dtype[Any]] = {
    "bool_contents": np.dtype(np.bool_),
    "uint_contents": np.dtype(np.uint32),
    "uint64_contents": np.dtype(np.uint64),
    "int_contents": np.dtype(np.int32),
    "int64_contents": np.dtype(np.int64),
    "fp32_contents": np.dtype(np.float32),
    "fp64_contents": np.dtype(np.float64),
    "bytes_contents": np.dtype(object),
}
_LENGTH_BYTES = 4
# NumPy's limit. A limit is also needed because the product of millions of sizes takes minutes.
_MAX_DIMENSIONS = 64


def datatype_of(data_type: DataType) -> str:
    """Return the protocol's name of an element type: `UINT8`, `FP32`, `BYTES`, ...

    Raises:
        Unsupported: the protocol has no name for the type (complex numbers).
    """
    name = _NAMES.get(data_type)
    if name is None:
        msg = (
            f"{data_type.name} has no datatype in this protocol; call Predict of "
            "tensorflow.serving.PredictionService instead"
        )
        raise Unsupported(msg)
    return name


def decode_raw(
    datatype: str,
    shape: Sequence[int],
    content: bytes | memoryview,
    admit: Admit = admit_all,
) -> np.ndarray:
    """Convert raw bytes to an array.

    Args:
        datatype: The protocol's name of the element type.
        shape: Sizes of at least 0.
        content: The elements, as many bytes as datatype and shape require.
        admit: Called with shape and dtype before the array takes memory; raises to refuse it.

    Returns:
        An array of that dtype and shape, read-only if it shares the content's memory; BYTES gives
        dtype object, each element `bytes`.

    Raises:
        InvalidInput: the datatype is unknown, the shape has negative sizes, or the content has the
            wrong length; or raised by `admit`.
    """
    data_type = to_data_type(datatype)
    sizes = to_sizes(shape)
    admit(sizes, data_type)
    if data_type is DataType.DT_STRING:
        return _shaped(_objects(_split(content, sizes)), sizes)
    dtype = data_type.numpy.newbyteorder("<")
    expected = math.prod(sizes) * dtype.itemsize
    if len(content) != expected:
        msg = (
            f"raw content has {len(content)} bytes, expected {expected} for shape {sizes} and "
            f"datatype {datatype}"
        )
        raise InvalidInput(msg)
    array = np.frombuffer(content, dtype)
    if data_type is DataType.DT_BOOL:
        array = array.view(np.uint8) != 0  # NumPy's bool must have the byte 0 or 1
    return _shaped(array, sizes)


def encode_raw(array: np.ndarray) -> bytes:
    """Convert an array to raw bytes.

    Args:
        array: Any dtype that has a datatype; strings as `object`, `bytes_` or `str_` arrays.

    Raises:
        InvalidInput: the array's dtype has no tensor type.
    """
    data_type = DataType.from_numpy(array.dtype)
    if data_type is DataType.DT_STRING:
        elements = to_bytes(array)
        return b"".join(
            len(element).to_bytes(_LENGTH_BYTES, "little") + element for element in elements
        )
    return array.astype(data_type.numpy.newbyteorder("<"), copy=False).tobytes()


def decode_contents(
    datatype: str,
    shape: Sequence[int],
    contents: InferTensorContents,
    admit: Admit = admit_all,
) -> np.ndarray:
    """Convert typed contents to an array; other arguments and the result as for `decode_raw`.

    Raises:
        InvalidInput: the datatype is unknown or has no typed field, the shape has negative sizes,
            another field than the datatype's is filled, the number of elements is wrong, or an
            element is out of the datatype's range; or raised by `admit`.
    """
    data_type = to_data_type(datatype)
    field = _FIELDS.get(data_type)
    if field is None:
        msg = f"{datatype} has no typed contents; send it in raw_input_contents"
        raise InvalidInput(msg)
    filled = [descriptor.name for descriptor, _ in contents.ListFields()]
    if filled not in ([], [field]):
        msg = f"contents has {', '.join(filled)}, expected only {field} for datatype {datatype}"
        raise InvalidInput(msg)
    sizes = to_sizes(shape)
    values = getattr(contents, field)
    _check_count(data_type, sizes, len(values), field)
    admit(sizes, data_type)
    return from_elements(data_type, sizes, np.array(values, _FIELD_DTYPES[field]), field)


def encode_contents(array: np.ndarray, contents: InferTensorContents) -> None:
    """Write an array into empty typed contents.

    Args:
        array: As for `encode_raw`; `has_typed_form` must be true for it.
        contents: Filled in place.

    Raises:
        InvalidInput: the array's dtype has no tensor type.
    """
    data_type = DataType.from_numpy(array.dtype)
    strings = data_type is DataType.DT_STRING
    elements = to_bytes(array) if strings else array.ravel().tolist()
    getattr(contents, _FIELDS[data_type]).extend(elements)


def has_typed_form(array: np.ndarray) -> bool:
    """Whether typed contents can hold an array; FP16 and BF16 have only the raw form."""
    return DataType.from_numpy(array.dtype) in _FIELDS


def to_data_type(datatype: str) -> DataType:
    """Return the element type that the protocol calls `datatype`.

    Raises:
        InvalidInput: the protocol has no such datatype.
    """
    data_type = _DATA_TYPES.get(datatype)
    if data_type is None:
        msg = f"datatype {datatype!r} is unknown; expected one of {', '.join(_DATA_TYPES)}"
        raise InvalidInput(msg)
    return data_type


def to_sizes(shape: Sequence[int]) -> tuple[int, ...]:
    """Check a shape of a request, and return it as a tuple.

    Raises:
        InvalidInput: a size is negative, or the shape has more than 64 dimensions.
    """
    if len(shape) > _MAX_DIMENSIONS:
        msg = f"shape has {len(shape)} dimensions, expected at most {_MAX_DIMENSIONS}"
        raise InvalidInput(msg)
    sizes = tuple(shape)
    if min(sizes, default=0) < 0:
        msg = f"shape is {sizes}, expected sizes of at least 0"
        raise InvalidInput(msg)
    return sizes


def from_elements(
    data_type: DataType, sizes: tuple[int, ...], elements: list[Any] | np.ndarray, source: str
) -> np.ndarray:
    """Convert elements in a list, or in an array of a wider dtype, to an array.

    Args:
        data_type: Element type.
        sizes: The shape, from `to_sizes`.
        elements: Values of the element type's kind, `bytes` for BYTES. Numbers may be out of the
            element type's range.
        source: Name of the field that the elements come from, for error messages.

    Raises:
        InvalidInput: the number of elements does not fit the shape, or an element is out of range.
    """
    _check_count(data_type, sizes, len(elements), source)
    if data_type is DataType.DT_STRING:
        return _shaped(_objects(elements), sizes)
    dtype = data_type.numpy
    array = _numbers(elements, dtype)
    if array is None:
        least, most = _limits(dtype)
        msg = (
            f"{source} has values from {min(elements)} to {max(elements)}, expected {least} to "
            f"{most} for datatype {_NAMES[data_type]}"
        )
        raise InvalidInput(msg)
    return _shaped(array, sizes)


def _check_count(data_type: DataType, sizes: tuple[int, ...], given: int, source: str) -> None:
    count = math.prod(sizes)
    if given != count:
        msg = (
            f"{source} has {given} elements, expected {count} for shape {sizes} and "
            f"datatype {_NAMES[data_type]}"
        )
        raise InvalidInput(msg)


def _numbers(elements: list[Any] | np.ndarray, dtype: np.dtype[Any]) -> np.ndarray | None:
    """Convert numbers to an array; return None if one is out of the dtype's range."""
    if dtype.kind == "f" or dtype == BFLOAT16:
        try:
            doubles = np.array(elements, np.float64)
        except OverflowError:  # an integer of JSON may have hundreds of digits
            return None
        with np.errstate(over="ignore"):
            array = bfloat16.from_floats(doubles) if dtype == BFLOAT16 else doubles.astype(dtype)
        infinite = np.isinf(bfloat16.to_floats(array))
        return array if (infinite == np.isinf(doubles)).all() else None
    if isinstance(elements, np.ndarray):
        array = elements.astype(dtype)
        return array if (array == elements).all() else None
    try:
        return np.array(elements, dtype)
    except OverflowError:
        return None


def _limits(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the least and the greatest number of a dtype."""
    if dtype == BFLOAT16:
        return -bfloat16.MAX, bfloat16.MAX
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return limits.min, limits.max


def _shaped(elements: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Reshape elements, whose number has been checked."""
    try:
        return elements.reshape(sizes)
    except (OverflowError, ValueError) as error:  # if a size is 0, other sizes may be huge
        msg = f"shape {sizes} cannot be used: {error}"
        raise InvalidInput(msg) from error


def _split(content: bytes | memoryview, sizes: tuple[int, ...]) -> list[bytes]:
    """Split raw BYTES content into its elements.

    Raises:
        InvalidInput: the content is cut off, or has another number of elements than the shape.
    """
    count = math.prod(sizes)
    elements: list[bytes] = []
    position = 0
    while position < len(content) and len(elements) <= count:
        start = position + _LENGTH_BYTES
        if start > len(content):
            msg = (
                f"BYTES content ends inside the length of element {len(elements)}: "
                f"{len(content) - position} of {_LENGTH_BYTES} bytes"
            )
            raise InvalidInput(msg)
        position = start + int.from_bytes(content[position:start], "little")
        if position > len(content):
            msg = (
                f"BYTES element {len(elements)} announces {position - start} bytes, but "
                f"{len(content) - start} are left; expected 4 bytes of little-endian length before "
                "each element"
            )
            raise InvalidInput(msg)
        elements.append(bytes(content[start:position]))
    if len(elements) != count:
        found = "more" if len(elements) > count else str(len(elements))
        msg = f"BYTES content has {found} elements, expected {count} for shape {sizes}"
        raise InvalidInput(msg)
    return elements


def _objects(elements: list[bytes] | np.ndarray) -> np.ndarray:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def to_bytes(array: np.ndarray) -> list[bytes]:
    """Return the elements of an array of strings in row-major order; text becomes UTF-8."""
    return [
        element if isinstance(element, bytes) else str(element).encode()
        for element in array.ravel()
    ]
