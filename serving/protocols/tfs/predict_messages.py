"""Read and write most Predict messages without protobuf, because consecutive ones are similar.

`RequestReader` reads requests by templates, see `message_templates`. For answers, protobuf writes
the bytes before an output's elements once for each name, dtype and shape. Each answer is these
bytes joined with its own elements.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from serving.engine.batching.request_queue import Arrays
from serving.engine.batching.request_rows import RequestRows
from serving.errors import InvalidInput
from serving.protocols.encoded_batch import EncodedBatch, bytes_of
from serving.protocols.message_templates import Described, TemplatedRequest, TemplateReader
from serving.protocols.tfs import tensor_proto
from serving.protocols.tfs.model_spec import read_model_spec
from serving.protos.nested_fields import find_nested
from serving.protos.tensorflow_serving_pb2 import ModelSpec, PredictRequest, PredictResponse

_MODEL_SPEC_FIELD = 1
_MAX_SPEC_BYTES = 64 << 10


class TemplatedPredict(TemplatedRequest):
    """A Predict request that a template has read; used in place of a PredictRequest."""

    __slots__ = ()

    @property
    def model_spec(self) -> ModelSpec:
        """As in PredictRequest."""
        spec: ModelSpec = self.template.request.model_spec
        return spec


class RequestReader(TemplateReader[PredictRequest, TemplatedPredict]):
    """Reads the Predict requests of one server. Use it only from the event loop."""

    request_type = PredictRequest
    templated_type = TemplatedPredict
    # PredictRequest.inputs, the map entry's value, TensorProto.tensor_content.
    path_to_elements = (2, 2, 4)

    def check_large(self, message: bytes) -> None:
        """Refuse a large ModelSpec before protobuf parses it: each use of its name copies the name.

        Raises:
            InvalidInput: the ModelSpec is over 64 KiB; the message has its size.
        """
        place = find_nested(message, (_MODEL_SPEC_FIELD,))
        if place is not None and place[1] - place[0] > _MAX_SPEC_BYTES:
            msg = f"ModelSpec has {place[1] - place[0]} bytes, expected at most {_MAX_SPEC_BYTES}"
            raise InvalidInput(msg)

    def elements_of(self, request: PredictRequest) -> bytes | None:
        """Return the `tensor_content` of the only input."""
        if len(request.inputs) != 1 or not request.HasField("model_spec"):
            return None
        content: bytes = next(iter(request.inputs.values())).tensor_content
        return content

    def set_elements(self, request: PredictRequest, elements: bytes) -> None:
        """Replace the `tensor_content` of the only input."""
        next(iter(request.inputs.values())).tensor_content = elements

    def describe(self, request: PredictRequest) -> Described:
        """Return what the requests of a template have in common."""
        ((alias, tensor),) = request.inputs.items()
        return Described(
            read_model_spec(request),
            alias,
            tensor_proto.decode(tensor),
            tuple(request.output_filter),
        )


@dataclass(slots=True)
class EncodedResponse:
    """A serialized PredictResponse.

    Attributes:
        payload: The serialized message.
        model: Name of the model that answered.
        version: Version of the model.
        signature_name: The signature that ran.
    """

    payload: bytes
    model: str
    version: int
    signature_name: str

    def SerializeToString(self) -> bytes:  # noqa: N802 - the name in protobuf's messages
        """Return the serialized message."""
        return self.payload


def encode_response(
    model: str,
    version: int,
    signature_name: str,
    outputs: Mapping[str, np.ndarray],
    *,
    as_content: bool = False,
) -> EncodedResponse:
    """Serialize a PredictResponse.

    Args:
        model: Name of the model that answered.
        version: Version of the model.
        signature_name: The signature that ran.
        outputs: Arrays by output alias, of any dtype of `DataType`.
        as_content: Whether to write elements to `tensor_content` instead of the typed fields.

    Raises:
        InvalidInput: an output's dtype has no tensor type.
    """
    spec = _serialized_spec(model, version, signature_name)
    if isinstance(outputs, RequestRows) and outputs.start < outputs.end:
        batch = outputs.of_batch(("Predict", as_content), _of_content if as_content else _of_fields)
        if batch is not None:
            payload = batch.answer(spec, outputs.start, outputs.end)
            return EncodedResponse(payload, model, version, signature_name)
    # Serialized messages one after another are one message: protobuf merges them.
    parts: list[bytes | memoryview] = [spec]
    for alias, array in outputs.items():
        elements = _elements(array, as_content=as_content)
        if elements is None:
            parts.append(_serialized_output(alias, array, as_content=as_content))
        else:
            parts.append(_before_elements(alias, array.dtype, array.shape, as_content=as_content))
            parts.append(elements)
    return EncodedResponse(b"".join(parts), model, version, signature_name)


def _of_content(arrays: Arrays) -> EncodedBatch | None:
    return _encode_batch(arrays, as_content=True)


def _of_fields(arrays: Arrays) -> EncodedBatch | None:
    return _encode_batch(arrays, as_content=False)


def _encode_batch(arrays: Arrays, *, as_content: bool) -> EncodedBatch | None:
    """Encode a batch; return None if the elements of an output have no fixed length."""
    encoded: list[tuple[bytes | memoryview, int]] = []
    for array in arrays.values():
        elements = _elements(array, as_content=as_content)
        if elements is None:
            return None
        encoded.append((elements, len(elements) // len(array)))

    def describe(rows: int) -> list[bytes]:
        return [
            _before_elements(alias, array.dtype, (rows, *array.shape[1:]), as_content=as_content)
            for alias, array in arrays.items()
        ]

    return EncodedBatch(encoded, describe)


def _elements(array: np.ndarray, *, as_content: bool) -> bytes | memoryview | None:
    """Return the bytes of an array's elements in its protobuf field, if their length is fixed.

    Returns:
        The bytes, or for a large array a view of its memory. None if the array is empty, or if
        protobuf must encode the elements: strings always; in a typed field also integers beyond 0
        to 127, half floats, bfloat16 and complex numbers.
    """
    dtype = array.dtype
    if not array.size:
        return None
    if dtype.char in "fd" or (as_content and not (dtype.hasobject or dtype.kind in "SU")):
        return bytes_of(array)
    if dtype.kind in "iub":
        # A varint below 128 takes one byte; most class indices are that small.
        try:
            small = bytes(array.ravel().tolist())
        except ValueError:
            return None
        return small if small.isascii() else None
    return None


@lru_cache(maxsize=1024)
def _before_elements(
    alias: str, dtype: np.dtype, shape: tuple[int, ...], *, as_content: bool
) -> bytes:
    """Return the bytes of a serialized output before its elements, which are its last bytes."""
    zeros = np.zeros(shape, dtype)
    elements = _elements(zeros, as_content=as_content)
    assert elements  # noqa: S101 - the caller has checked it with the real array
    return _serialized_output(alias, zeros, as_content=as_content)[: -len(elements)]


def _serialized_output(alias: str, array: np.ndarray, *, as_content: bool) -> bytes:
    response = PredictResponse()
    tensor_proto.encode(array, response.outputs[alias], as_content=as_content)
    return response.SerializeToString()


@lru_cache(maxsize=256)
def _serialized_spec(model: str, version: int, signature_name: str) -> bytes:
    response = PredictResponse()
    spec = response.model_spec
    spec.name = model
    spec.version.value = version
    spec.signature_name = signature_name
    return response.SerializeToString()
