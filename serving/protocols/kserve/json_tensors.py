"""Tensors between JSON, as the Open Inference Protocol (KServe v2) has them, and NumPy.

The elements come in a list, row-major, flat or nested as the shape is. BYTES are strings in UTF-8.
Written against the Open Inference Protocol (specification/protocol/inference_rest.md).
"""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from serving.errors import InvalidInput
from serving.protocols import json_reader
from serving.protocols.kserve import tensor_bytes
from serving.tensors import bfloat16
from serving.tensors.signature import DataType

# What the elements of a JSON list may be, by the kind of the NumPy dtype.
_JSON_TYPES: dict[str, set[type]] = {
    "b": {bool},
    "i": {int},
    "u": {int},
    "f": {int, float},
    "V": {int, float},  # bfloat16
    "O": {str},
}
_KINDS = {
    bool: "boolean",
    int: "integer",
    float: "fraction",
    str: "string",
    list: "list",
    dict: "object",
    type(None): "null",
}


def kind_of(value: object) -> str:
    """What JSON calls a parsed value, for messages."""
    return _KINDS[type(value)]


def read(body: bytes) -> Any:  # noqa: ANN401 - whatever the JSON holds
    """A request's JSON, with the data of its inputs as arrays already where that is possible.

    Of a request that is large, this is nearly all the work. What is wrong with it is left for
    those to find who know what to say: the array is then the error that `decode` gave, or what the
    JSON had if anything else about the input is amiss.

    Raises:
        InvalidInput: it is no JSON.
    """
    try:
        request = json_reader.loads(body)
    except (ValueError, RecursionError) as error:
        msg = f"request is not JSON: {error}"
        raise InvalidInput(msg) from error
    inputs = request.get("inputs") if isinstance(request, dict) else None
    for tensor in inputs if isinstance(inputs, list) else ():
        if isinstance(tensor, dict) and type(tensor.get("data")) is list:
            datatype, shape = tensor.get("datatype"), tensor.get("shape")
            if type(datatype) is str and type(shape) is list and set(map(type, shape)) <= {int}:
                try:
                    tensor["data"] = decode(datatype, shape, tensor["data"])
                except InvalidInput as error:
                    tensor["data"] = error
    return request


def write(response: Mapping[str, Any]) -> bytes:
    """A response as JSON, with the data of its outputs still in arrays.

    Raises:
        InvalidInput: see `encode`.
    """
    outputs = []
    for output in response["outputs"]:
        try:
            data = {"data": encode(output["data"])} if "data" in output else {}
        except InvalidInput as error:
            msg = f'output "{output["name"]}": {error.message}'
            raise InvalidInput(msg) from error
        outputs.append(output | data)
    return json.dumps({**response, "outputs": outputs}).encode()


def decode(datatype: str, shape: Sequence[int], data: object) -> np.ndarray:
    """The array that a parsed JSON list holds.

    Args:
        datatype: The protocol's name of the element type.
        shape: Sizes of at least 0.
        data: Elements in one list, or in lists nested as the shape is. BYTES are strings, encoded
            as UTF-8.

    Returns:
        An array of that dtype and shape; BYTES gives dtype object, each element `bytes`.

    Raises:
        InvalidInput: datatype unknown, shape negative, the wrong number or nesting of elements, or
            one that the datatype cannot hold.
    """
    data_type = tensor_bytes.to_data_type(datatype)
    sizes = tensor_bytes.to_sizes(shape)
    elements = _flatten(data, sizes)
    kinds = _JSON_TYPES[data_type.numpy.kind]
    wrong = sorted({_KINDS[kind] for kind in {*map(type, elements)} - kinds})
    if wrong:
        expected = " or ".join(sorted(_KINDS[kind] for kind in kinds))
        msg = f"data has {', '.join(wrong)} elements, expected {expected} for datatype {datatype}"
        raise InvalidInput(msg)
    if data_type is DataType.DT_STRING:
        elements = [_encoded(element) for element in elements]
    return tensor_bytes.from_elements(data_type, sizes, elements, "data")


def encode(array: np.ndarray) -> list[Any]:
    """An array as a flat list for JSON.

    A float becomes the double of the same value, so that reading it back gives the same bits; NaN
    and the infinities stay what they are, for which JSON proper has no form.

    Raises:
        InvalidInput: a string is not UTF-8 and so has no JSON form.
    """
    if DataType.from_numpy(array.dtype) is not DataType.DT_STRING:
        return list(bfloat16.to_floats(array).ravel().tolist())
    try:
        return [element.decode() for element in tensor_bytes.to_bytes(array)]
    except UnicodeDecodeError as error:
        msg = (
            "a BYTES element is not UTF-8 text and has no JSON form; ask for this output with the "
            "parameter binary_data true"
        )
        raise InvalidInput(msg) from error


def _flatten(data: object, sizes: tuple[int, ...]) -> list[Any]:
    """The elements of a list that is flat, or nested exactly as the shape is."""
    if not isinstance(data, list):
        msg = f"data is {kind_of(data)}, expected a list"
        raise InvalidInput(msg)
    if not any(isinstance(element, list) for element in data):
        return data
    elements: list[Any] = [data]
    for axis, size in enumerate(sizes):
        for row in elements:
            if not isinstance(row, list) or len(row) != size:
                found = f"{len(row)} elements" if isinstance(row, list) else kind_of(row)
                msg = (
                    f"data has {found} at depth {axis + 1} of its nesting, expected a list of "
                    f"{size} for shape {sizes}"
                )
                raise InvalidInput(msg)
        elements = list(chain.from_iterable(elements))
    return elements


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # JSON can escape half of a surrogate pair
        msg = f"data has a string that is no Unicode text: {error.reason}; send BYTES in binary"
        raise InvalidInput(msg) from error
