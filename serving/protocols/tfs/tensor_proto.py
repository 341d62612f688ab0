"""Convert tensors between `tensorflow.TensorProto` and NumPy, by TensorFlow's own rules.

Decoding follows `Tensor::FromProto` and encoding `Tensor::AsProtoField` / `AsProtoTensorContent`
(tensorflow/core/framework/tensor.cc). Both the server and the client use this module.
"""

import math
from typing import Any

import numpy as np

from serving.errors import InvalidInput
from serving.protos.tensorflow_pb2 import TensorProto
from serving.tensors.admission import Admit, admit_all
from serving.tensors.bfloat16 import BFLOAT16
from serving.tensors.signature import DataType
from serving.tensors.tensor_spec import MAX_TENSOR_BYTES

MAX_DIMENSIONS = 64  # NumPy's own limit
# If a tensor has more than one value but fewer values than elements, decoding copies the last value
# into all remaining elements. This limit keeps a message of a few bytes from blocking the event
# loop. A single value has no such limit: it is broadcast without a copy.
_MAX_REPEATED_BYTES = 16 << 20

# The typed field of each element type. Half floats and bfloat16 are sent as their 16 bits, complex
# numbers as alternating real and imaginary parts.
_FIELDS = {
    DataType.DT_FLOAT: "float_val",
    DataType.DT_DOUBLE: "double_val",
    DataType.DT_INT32: "int_val",
    DataType.DT_UINT8: "int_val",
    DataType.DT_INT16: "int_val",
    DataType.DT_INT8: "int_val",
    DataType.DT_STRING: "string_val",
    DataType.DT_COMPLEX64: "scomplex_val",
    DataType.DT_INT64: "int64_val",
    DataType.DT_BOOL: "bool_val",
    DataType.DT_BFLOAT16: "half_val",
    DataType.DT_UINT16: "int_val",
    DataType.DT_COMPLEX128: "dcomplex_val",
    DataType.DT_HALF: "half_val",
    DataType.DT_UINT32: "uint32_val",
    DataType.DT_UINT64: "uint64_val",
}
_DATA_TYPES: dict[int, DataType] = {data_type.value: data_type for data_type in DataType}
# The dtype of the values in a typed field, if it differs from the element type.
_FIELD_DTYPES: dict[DataType, np.dtype[Any]] = {
    DataType.DT_BFLOAT16: np.dtype(np.uint16),
    DataType.DT_COMPLEX64: np.dtype(np.float32),
    DataType.DT_COMPLEX128: np.dtype(np.float64),
    DataType.DT_HALF: np.dtype(np.uint16),
}


def decode(proto: TensorProto, admit: Admit = admit_all) -> np.ndarray:
    """Return the array that a TensorProto describes.

    Args:
        proto: Elements in `tensor_content`, or in the typed field of its dtype.
        admit: Called with shape and dtype before the array takes memory; raises to refuse it.

    Returns:
        An array of the proto's dtype and shape; DT_STRING gives dtype object with `bytes` elements.
        The array is read-only if it shares the proto's memory, or if all its elements share the
        memory of a single value.

    Raises:
        InvalidInput: the dtype is unknown or not supported, the shape has negative sizes or too
            many dims, the content has the wrong length, or the tensor is larger than
            `MAX_TENSOR_BYTES`; or raised by `admit`.
    """
    data_type = _DATA_TYPES.get(proto.dtype)
    if data_type is None:
        msg = (
            f"dtype {proto.dtype} cannot be served; expected one of "
            f"{', '.join(known.name for known in DataType)}"
        )
        raise InvalidInput(msg)
    shape = _decode_shape(proto)
    dtype = data_type.numpy
    count = math.prod(shape)
    # If a size is 0, the other sizes still count: NumPy refuses strides beyond the address space.
    size = (count or math.prod(size or 1 for size in shape)) * dtype.itemsize
    if size > MAX_TENSOR_BYTES:
        msg = (
            f"tensor of shape {shape} and dtype {data_type.name} takes {size} bytes, expected at "
            f"most {MAX_TENSOR_BYTES}; send smaller batches"
        )
        raise InvalidInput(msg)
    admit(shape, data_type)
    if not count:  # the values of an empty tensor are ignored
        return np.empty(shape, dtype)
    content = proto.tensor_content
    if content:
        return _decode_content(content, data_type, shape)
    return _decode_values(proto, data_type, shape, count)


def encode(array: np.ndarray, proto: TensorProto, *, as_content: bool = False) -> None:
    """Write an array into an empty TensorProto.

    Args:
        array: Any dtype of `DataType`; strings as `object`, `bytes_` or `str_` arrays.
        proto: Filled in place.
        as_content: Whether to write `tensor_content` instead of the typed field. Strings have no
            such form and always go to `string_val`.

    Raises:
        InvalidInput: the array's dtype has no tensor type.
    """
    data_type = DataType.from_numpy(array.dtype)
    if data_type is DataType.DT_BFLOAT16:  # the dtype may be that of `ml_dtypes`
        array = array.view(BFLOAT16)
    proto.dtype = data_type  # type: ignore[assignment]  # takes a number
    proto.tensor_shape.SetInParent()  # sets the shape of a scalar, too, which has no dims
    dims = proto.tensor_shape.dim
    for size in array.shape:
        dims.add().size = size
    if data_type is DataType.DT_STRING:
        proto.string_val.extend(_to_bytes(value) for value in array.ravel())
    elif as_content:
        proto.tensor_content = np.ascontiguousarray(array, dtype=data_type.numpy).tobytes()
    else:
        values = array.ravel()
        if data_type in _FIELD_DTYPES:
            values = values.astype(data_type.numpy, copy=False).view(_FIELD_DTYPES[data_type])
        getattr(proto, _FIELDS[data_type]).extend(values.tolist())


def _decode_shape(proto: TensorProto) -> tuple[int, ...]:
    shape = proto.tensor_shape  # the number of dims is the rank; unknown_rank is ignored
    if len(shape.dim) > MAX_DIMENSIONS:
        msg = f"tensor_shape has {len(shape.dim)} dims, expected at most {MAX_DIMENSIONS}"
        raise InvalidInput(msg)
    sizes = tuple([dim.size for dim in shape.dim])
    if min(sizes, default=0) < 0:
        msg = f"tensor_shape is {sizes}, expected sizes of at least 0"
        raise InvalidInput(msg)
    return sizes


def _decode_content(content: bytes, data_type: DataType, shape: tuple[int, ...]) -> np.ndarray:
    if data_type is DataType.DT_STRING:
        msg = "DT_STRING has no tensor_content form; send the elements in string_val"
        raise InvalidInput(msg)
    expected = math.prod(shape) * data_type.numpy.itemsize
    if len(content) != expected:
        msg = (
            f"tensor_content has {len(content)} bytes, expected {expected} for shape {shape} "
            f"and dtype {data_type.name}"
        )
        raise InvalidInput(msg)
    return np.frombuffer(content, dtype=data_type.numpy).reshape(shape)


def _decode_values(
    proto: TensorProto, data_type: DataType, shape: tuple[int, ...], count: int
) -> np.ndarray:
    field = _FIELDS[data_type]
    values = getattr(proto, field)
    field_dtype = _FIELD_DTYPES.get(data_type)
    # A complex number takes two values of its field.
    width = data_type.numpy.itemsize // field_dtype.itemsize if field_dtype else 1
    given = min(len(values) // width, count)
    if not given:
        return _zeros(data_type, shape)
    if given * width < len(values):  # surplus values are ignored
        values = values[: given * width]
    if data_type is DataType.DT_STRING:
        array = np.empty(given, dtype=object)
        array[:] = values
    else:
        # A value that is too large for the dtype wraps around, as C++ converts it.
        array = np.array(values).astype(field_dtype or data_type.numpy, copy=False)
        if field_dtype:
            array = array.view(data_type.numpy)
    if given == 1:
        return np.broadcast_to(array.reshape(()), shape)
    if given < count:
        repeated = (count - given) * array.itemsize
        if repeated > _MAX_REPEATED_BYTES:
            msg = (
                f"{field} has {len(values)} values for shape {shape}, and repeating the last one "
                f"takes {repeated} bytes, expected at most {_MAX_REPEATED_BYTES}; send a value for "
                "each element, or one for all"
            )
            raise InvalidInput(msg)
        array = np.concatenate([array, np.broadcast_to(array[-1:], (count - given,))])
    return array.reshape(shape)


def _zeros(data_type: DataType, shape: tuple[int, ...]) -> np.ndarray:
    zero: np.ndarray = np.zeros((), dtype=data_type.numpy)
    if data_type is DataType.DT_STRING:
        zero[()] = b""
    return np.broadcast_to(zero, shape)


def _to_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
