"""Default values of inputs, used if a request omits the input; TensorFlow's SignatureDef.defaults.

signature.json holds the dtype, the shape and the values of a default. The values are a flat list in
row-major order; a list of one value sets all elements::

    "defaults": {"threshold": {"dtype": "DT_FLOAT", "shape": [], "values": [0.5]},
                 "unit":      {"dtype": "DT_STRING", "shape": [1], "values": [{"b64": "a2c="}]}}
"""

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.tensors.tensor_spec import MAX_TENSOR_BYTES, DataType


def to_json(array: np.ndarray) -> dict[str, Any]:
    """Return the entry of a default in signature.json.

    Args:
        array: Array of any dtype of `DataType` except the complex ones; strings have dtype object
            and elements of type `bytes`.

    Raises:
        InvalidInput: the dtype has no tensor type.
    """
    values = array.ravel().tolist()
    # Compared as text, because NaN differs from itself, and 0.0 equals -0.0.
    if len({repr(value) for value in values}) == 1:
        values = values[:1]
    return {
        "dtype": DataType.from_numpy(array.dtype).name,
        "shape": list(array.shape),
        "values": [
            {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
            for value in values
        ],
    }


def from_json(entry: Mapping[str, Any]) -> np.ndarray:
    """Read an entry of signature.json.

    Returns:
        A read-only array; for DT_STRING it has dtype object and elements of type `bytes`.

    Raises:
        KeyError, TypeError, ValueError: a field is missing or invalid.
    """
    data_type = DataType[entry["dtype"]]
    shape = tuple(int(size) for size in entry["shape"])
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * data_type.numpy.itemsize > MAX_TENSOR_BYTES:
        msg = (
            f"default of shape {shape}, expected sizes of at least 0 and at most "
            f"{MAX_TENSOR_BYTES} bytes in all"
        )
        raise ValueError(msg)
    values = [
        base64.b64decode(value["b64"], validate=True) if isinstance(value, dict) else value
        for value in entry["values"]
    ]
    if len(values) != count and len(values) != 1:
        msg = f"default of shape {shape} has {len(values)} values, expected {count}, or 1 for all"
        raise ValueError(msg)
    if {isinstance(value, bytes) for value in values} - {data_type is DataType.DT_STRING}:
        msg = f'default of {data_type.name}: expected {{"b64": ...}} for strings and only for them'
        raise ValueError(msg)
    flat = np.empty(len(values), data_type.numpy)
    try:
        flat[:] = values
    except OverflowError as error:
        msg = f"default of {data_type.name}: {error}"
        raise ValueError(msg) from error
    array = flat.reshape(shape) if len(values) == count else np.broadcast_to(flat[0], shape)
    array.flags.writeable = False
    return array
