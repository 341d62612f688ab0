"""Convert tensors between the JSON of the Open Inference Protocol (KServe v2) and NumPy.

The elements are a row-major list, flat or nested like the shape. BYTES elements are UTF-8 strings.
Follows the Open Inference Protocol (specification/protocol/inference_rest.md).
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

# The Python types that the elements of a JSON list may have, by the kind of the NumPy dtype.
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
    """Name the JSON type of a parsed value, for error messages."""
    return _KINDS[type(value)]


def read(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Parse a request's JSON and decode the `data` of its inputs to arrays.

    Decoding is done here so that it happens in the child process: it is nearly all the work of
    reading a large request. Mistakes in an input are not raised here. If `decode` raises, `data`
    becomes that InvalidInput; if datatype or shape are malformed, `data` stays a list.
    `routes._decode` reports both.

    Raises:
        InvalidInput: the body is not JSON.
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
    """Encode a response as JSON.

    Args:
        response: The JSON object of the response, with arrays as `data` of its outputs.

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
    """Convert a parsed JSON list to an array.

    Args:
        datatype: The protocol's name of the element type.
        shape: Sizes of at least 0.
        data: Elements in one list, or in lists nested like the shape. BYTES elements are strings;
            their UTF-8 becomes the element.

    Returns:
        An array of that dtype and shape; BYTES gives dtype object, each element `bytes`.

    Raises:
        InvalidInput: the datatype is unknown, the shape has negative sizes, the number or nesting
            of the elements is wrong, or the datatype cannot hold an element.
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
    """Convert an array to a flat list for JSON.

    A float becomes the double of the same value, so that reading it back gives the same bits. NaN
    and infinities are kept, although standard JSON has no form for them.

    Raises:
        InvalidInput: a string is not UTF-8, so it has no JSON form.
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
    """Return the elements of a list that is flat, or nested exactly like the shape."""
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
        msg = f"data has a string that is not Unicode text: {error.reason}; send BYTES in binary"
        raise InvalidInput(msg) from error
