"""Read and write most Predict messages without protobuf, because consecutive ones are similar.

Reading and writing messages through protobuf's Python objects takes longer than running a small
model. Most requests of a client differ only in the elements of the tensor: the bytes before and
after the elements (model, names, dtype, shape, lengths) are the same every time. A request that
protobuf has parsed can therefore become a template. A later message of the same length is read by
the template if its bytes before and after the elements are the template's; protobuf parses all
other messages.

For answers, protobuf writes the bytes before an output's elements once for each name, dtype and
shape. Each answer is these bytes joined with its own elements.
"""

import weakref
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from serving.engine.servable import Servable
from serving.errors import InvalidInput
from serving.protocols.tfs import tensor_proto
from serving.protocols.tfs.model_spec import read_model_spec
from serving.protos.nested_fields import find_nested
from serving.protos.tensorflow_serving_pb2 import ModelSpec, PredictRequest, PredictResponse

# Limits of the template cache: templates in all, templates for messages of one length, and bytes
# kept per template.
_MAX_TEMPLATES = 256
_MAX_TEMPLATES_OF_A_LENGTH = 4
_MAX_SURROUNDING_BYTES = 2048
# The fields that lead to the elements: PredictRequest.inputs, the map entry's value,
# TensorProto.tensor_content.
_PATH_TO_ELEMENTS = (2, 2, 4)
_MODEL_SPEC_FIELD = 1
_MAX_SPEC_BYTES = 64 << 10
_LARGE_BYTES = 1 << 20
# Below this size, copying the elements is faster than making a view of them.
_LARGE_ANSWER_BYTES = 16 << 10


class AcceptedKind(NamedTuple):
    """The result of checking the requests of a template against a servable.

    Attributes:
        outputs: The output aliases to compute.
        batched: Whether the requests may share a run with other requests.
    """

    outputs: Sequence[str]
    batched: bool


class Template:
    """The parts that similar requests have in common.

    Attributes:
        model_spec: The ModelSpec message; all requests share it, so it must not be changed.
        spec: The same model spec in the predictor's type.
        output_filter: Output aliases to compute; empty for all.
        alias: Alias of the only input.
    """

    __slots__ = (
        "_accepted",
        "_after",
        "_before",
        "_copies",
        "_count",
        "_dtype",
        "_servable",
        "_shape",
        "alias",
        "model_spec",
        "output_filter",
        "spec",
    )

    def __init__(self, request: PredictRequest, before: bytes, after: bytes) -> None:
        """Make a template of a parsed request.

        Args:
            request: A request with one input, whose elements are in `tensor_content`.
            before: The bytes of the serialized request before the elements.
            after: The bytes after the elements.

        Raises:
            InvalidInput: the input cannot be decoded.
        """
        self.model_spec = request.model_spec
        self.spec = read_model_spec(request)
        self.output_filter = tuple(request.output_filter)
        ((self.alias, tensor),) = request.inputs.items()
        array = tensor_proto.decode(tensor)
        self._before, self._after = before, after
        self._dtype, self._shape, self._count = array.dtype, array.shape, array.size
        # The content of a `bytes` object is aligned for any dtype. Elements at an offset that is no
        # multiple of their size are not aligned and must be copied.
        self._copies = len(before) % array.dtype.itemsize != 0
        self._servable: weakref.ref[Servable] | None = None
        self._accepted: AcceptedKind | None = None

    def read(self, message: bytes) -> np.ndarray | None:
        """Return the input of a message that has the template's length.

        Returns:
            The array, read-only if it shares the message's memory; None if the bytes around the
            elements are not the template's.
        """
        if not (message.startswith(self._before) and message.endswith(self._after)):
            return None
        array = np.frombuffer(message, self._dtype, self._count, len(self._before))
        return (array.copy() if self._copies else array).reshape(self._shape)

    def accept(self, servable: Servable, kind: AcceptedKind) -> None:
        """Remember that a servable accepts requests of this template, and the checks' result."""
        self._servable, self._accepted = weakref.ref(servable), kind

    def accepted_by(self, servable: Servable) -> AcceptedKind | None:
        """Return the result of the checks if `servable` was the last to accept; None otherwise."""
        return self._accepted if self._servable and self._servable() is servable else None


class TemplatedRequest(NamedTuple):
    """A request that a template has read; used in place of a PredictRequest.

    Attributes:
        model_spec: As in PredictRequest.
        template: The template that has read the request.
        array: The input, read-only if it shares the message's memory.
    """

    model_spec: ModelSpec
    template: Template
    array: np.ndarray


class RequestReader:
    """Reads the Predict requests of one server. Use it only from the event loop."""

    def __init__(self) -> None:
        self._templates: dict[int, list[Template]] = {}  # by length of the message
        self._seen: set[int] = set()  # lengths of messages that protobuf has parsed
        self._count = 0

    def read(self, message: bytes) -> PredictRequest | TemplatedRequest:
        """Parse a serialized PredictRequest.

        Raises:
            DecodeError: the bytes are not a PredictRequest.
            InvalidInput: the message is over 1 MiB and its ModelSpec over 64 KiB.
        """
        length = len(message)
        if length > _LARGE_BYTES:
            _check_spec(message)
        templates = self._templates.get(length)
        if templates is not None:
            for template in templates:
                array = template.read(message)
                if array is not None:
                    return TemplatedRequest(template.model_spec, template, array)
        request = PredictRequest.FromString(message)
        if length in self._seen:
            # The second message of this length: more may follow. Waiting for the second keeps
            # clients whose messages always have new lengths from filling the cache.
            self._learn(request, message)
        else:
            if len(self._seen) >= _MAX_TEMPLATES:
                self._seen.clear()
            self._seen.add(length)
        return request

    def _learn(self, request: PredictRequest, message: bytes) -> None:
        templates = self._templates.get(len(message), [])
        if len(templates) >= _MAX_TEMPLATES_OF_A_LENGTH:
            return
        template = _template_of(request, message)
        if template is None:
            return
        if self._count >= _MAX_TEMPLATES:  # clear the cache: the old clients may be gone
            self._templates.clear()
            self._count = 0
        self._templates.setdefault(len(message), []).append(template)
        self._count += 1


def _check_spec(message: bytes) -> None:
    """Refuse a large ModelSpec before protobuf parses it: each use of its name copies the name.

    Raises:
        InvalidInput: the ModelSpec is over 64 KiB; the message has its size.
    """
    place = find_nested(message, (_MODEL_SPEC_FIELD,))
    if place is not None and place[1] - place[0] > _MAX_SPEC_BYTES:
        msg = f"ModelSpec has {place[1] - place[0]} bytes, expected at most {_MAX_SPEC_BYTES}"
        raise InvalidInput(msg)


def _template_of(request: PredictRequest, message: bytes) -> Template | None:
    """Make a template of a request and its bytes; None if the request cannot be a template."""
    if len(request.inputs) != 1 or not request.HasField("model_spec"):
        return None
    tensor = next(iter(request.inputs.values()))
    content = tensor.tensor_content
    if not content or len(message) - len(content) > _MAX_SURROUNDING_BYTES:
        return None
    start, end = find_nested(message, _PATH_TO_ELEMENTS) or (0, 0)
    if end - start != len(content) or not _are_the_elements(request, message, start, end):
        return None
    try:
        return Template(request, message[:start], message[end:])
    except InvalidInput:
        return None  # the regular checks report the error to the client


def _are_the_elements(request: PredictRequest, message: bytes, start: int, end: int) -> bool:
    """Whether the message's bytes from `start` to `end` are the elements and nothing else.

    The same bytes may also occur elsewhere by chance, in a name for example. The check inverts all
    bits between the positions and parses the message again: the elements must then be the inverted
    bytes, and the rest of the request must be the same.
    """
    changed = bytes(~np.frombuffer(message[start:end], np.uint8))
    try:
        other = PredictRequest.FromString(message[:start] + changed + message[end:])
    except Exception:  # noqa: BLE001 - DecodeError, or text that is not UTF-8
        return False
    if len(other.inputs) != 1:
        return False
    tensor = next(iter(other.inputs.values()))
    if tensor.tensor_content != changed:
        return False
    tensor.tensor_content = message[start:end]
    return other == request


class EncodedResponse(NamedTuple):
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
    # Serialized messages one after another are one message: protobuf merges them.
    parts: list[bytes | memoryview] = [_serialized_spec(model, version, signature_name)]
    for alias, array in outputs.items():
        elements = _elements(array, as_content=as_content)
        if elements is None:
            parts.append(_serialized_output(alias, array, as_content=as_content))
        else:
            parts.append(_before_elements(alias, array.dtype, array.shape, as_content=as_content))
            parts.append(elements)
    return EncodedResponse(b"".join(parts), model, version, signature_name)


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
        if array.nbytes >= _LARGE_ANSWER_BYTES and array.flags.c_contiguous:
            return array.reshape(-1).view(np.uint8).data
        return array.tobytes()
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
