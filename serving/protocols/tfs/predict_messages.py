"""Predict's messages without protobuf in the way: most requests look like the one before.

Reading and writing messages through protobuf's Python objects takes longer than a small model
takes to run. But the requests of a client differ in the elements of the tensor alone: what is
before and after them (model, names, dtype, shape, lengths) is the same bytes every time. So a
request that protobuf has parsed becomes a template, and later messages with the same bytes around
elements of the same number are read by looking at those bytes. Anything else goes to protobuf.

Answers are written likewise: protobuf writes the bytes before an output's elements once, for each
name, dtype and shape, and they are put together with the elements of each answer.
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

# What templates may take: so many of them, with so many bytes around the elements each.
_MAX_TEMPLATES = 256
_MAX_TEMPLATES_OF_A_LENGTH = 4
_MAX_SURROUNDING_BYTES = 2048
# The fields that lead to the elements: PredictRequest.inputs, the map entry's value,
# TensorProto.tensor_content.
_PATH_TO_ELEMENTS = (2, 2, 4)
_MODEL_SPEC_FIELD = 1
_MAX_SPEC_BYTES = 64 << 10
_LARGE_BYTES = 1 << 20
# Elements of fewer bytes are quicker copied than viewed.
_LARGE_ANSWER_BYTES = 16 << 10


class AcceptedKind(NamedTuple):
    """What was found out about a kind of request when it was checked.

    Attributes:
        outputs: The output aliases to compute.
        batched: Whether it may share a run with others.
    """

    outputs: Sequence[str]
    batched: bool


class Template:
    """What is the same in all requests of a kind.

    Attributes:
        model_spec: The model spec; shared by all the requests, so not to be changed.
        spec: The same as the predictor takes it.
        output_filter: Output aliases to compute; empty for all.
        alias: Name of the one input.
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
        """Take the parts of a parsed request.

        Args:
            request: Has one input, with its elements in `tensor_content`.
            before: The serialized request up to the elements.
            after: What follows them.
        """
        self.model_spec = request.model_spec
        self.spec = read_model_spec(request)
        self.output_filter = tuple(request.output_filter)
        ((self.alias, tensor),) = request.inputs.items()
        array = tensor_proto.decode(tensor)
        self._before, self._after = before, after
        self._dtype, self._shape, self._count = array.dtype, array.shape, array.size
        # A `bytes` object's content is aligned for any dtype, so the offset decides.
        self._copies = len(before) % array.dtype.itemsize != 0
        self._servable: weakref.ref[Servable] | None = None
        self._accepted: AcceptedKind | None = None

    def read(self, message: bytes) -> np.ndarray | None:
        """The input of a message of the template's length; None if it is of another kind."""
        if not (message.startswith(self._before) and message.endswith(self._after)):
            return None
        array = np.frombuffer(message, self._dtype, self._count, len(self._before))
        return (array.copy() if self._copies else array).reshape(self._shape)

    def accept(self, servable: Servable, kind: AcceptedKind) -> None:
        """Remember that a servable takes requests of this kind as they are, and how it does."""
        self._servable, self._accepted = weakref.ref(servable), kind

    def accepted_by(self, servable: Servable) -> AcceptedKind | None:
        """What is known if nothing is left to check; None if nobody has checked yet."""
        return self._accepted if self._servable and self._servable() is servable else None


class TemplatedRequest(NamedTuple):
    """A request read by a template; stands for the PredictRequest it is.

    Attributes:
        model_spec: As in PredictRequest.
        template: By which it was read.
        array: The input, read-only where it shares the message's memory.
    """

    model_spec: ModelSpec
    template: Template
    array: np.ndarray


class RequestReader:
    """Reads the Predict requests of one server; for the event loop alone."""

    def __init__(self) -> None:
        self._templates: dict[int, list[Template]] = {}  # by length of the message
        self._seen: set[int] = set()  # lengths that protobuf had to parse
        self._count = 0

    def read(self, message: bytes) -> PredictRequest | TemplatedRequest:
        """Parse a serialized PredictRequest.

        Raises:
            DecodeError: it is none.
            InvalidInput: it names its model in far too many bytes.
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
            # The second of its length: more may come. Requests of ever new lengths cost nothing.
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
        if self._count >= _MAX_TEMPLATES:  # begin anew: clients change
            self._templates.clear()
            self._count = 0
        self._templates.setdefault(len(message), []).append(template)
        self._count += 1


def _check_spec(message: bytes) -> None:
    """Refuse a large ModelSpec before it is parsed: whoever reads a name of megabytes copies it.

    Raises:
        InvalidInput: with its size.
    """
    place = find_nested(message, (_MODEL_SPEC_FIELD,))
    if place is not None and place[1] - place[0] > _MAX_SPEC_BYTES:
        msg = f"ModelSpec has {place[1] - place[0]} bytes, expected at most {_MAX_SPEC_BYTES}"
        raise InvalidInput(msg)


def _template_of(request: PredictRequest, message: bytes) -> Template | None:
    """A template from a request and its bytes; None if it does not lend itself to one."""
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
        return None  # the usual way tells the client what is wrong with it


def _are_the_elements(request: PredictRequest, message: bytes, start: int, end: int) -> bool:
    """Whether these bytes are the elements and nothing else: change them all, and parse again.

    The bytes of the elements could also stand elsewhere by chance, in a name for example.
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
    """A PredictResponse, serialized.

    Attributes:
        payload: The bytes.
        model: Name of the model that answered.
        version: Its version.
        signature_name: The signature that ran.
    """

    payload: bytes
    model: str
    version: int
    signature_name: str

    def SerializeToString(self) -> bytes:  # noqa: N802 - as messages have it
        """The bytes."""
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
        version: Its version.
        signature_name: The signature that ran.
        outputs: Arrays by output alias, of any dtype of `DataType`.
        as_content: Write elements to `tensor_content` instead of the typed fields.

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
    """An array's elements as its field holds them, if that takes as many bytes for any values.

    Returns:
        The bytes, or for many of them a view of the array's memory;
        None for an empty array, and where a number's size in the field depends on its value.
    """
    dtype = array.dtype
    if not array.size:
        return None
    if dtype.char in "fd" or (as_content and not (dtype.hasobject or dtype.kind in "SU")):
        if array.nbytes >= _LARGE_ANSWER_BYTES and array.flags.c_contiguous:
            return array.reshape(-1).view(np.uint8).data
        return array.tobytes()
    if dtype.kind in "iub":
        # A varint below 128 is one byte. Classes mostly are.
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
    """A serialized output up to its elements, which are the last bytes of it."""
    zeros = np.zeros(shape, dtype)
    elements = _elements(zeros, as_content=as_content)
    assert elements  # noqa: S101 - the caller has seen to it
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
