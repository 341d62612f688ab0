"""Read and write most raw ModelInfer messages without protobuf.

Requests are read by templates, see `message_templates`. For answers, protobuf writes the bytes
around an output's raw content once for each name, dtype and shape.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from serving.engine.batching.request_queue import Arrays
from serving.engine.batching.request_rows import RequestRows
from serving.inference.request import ModelSpec
from serving.protocols.encoded_batch import EncodedBatch, bytes_of
from serving.protocols.kserve import tensor_bytes
from serving.protocols.kserve.operations import version_number
from serving.protocols.message_templates import Described, TemplatedRequest, TemplateReader
from serving.protos.kserve_pb2 import ModelInferRequest, ModelInferResponse
from serving.tensors.signature import DataType

# Element types whose arrays are not simply views of the raw content.
_CONVERTED = {"BYTES", "BOOL"}


class TemplatedInfer(TemplatedRequest):
    """A raw ModelInfer request that a template has read; used in place of a ModelInferRequest."""

    __slots__ = ()

    @property
    def model_name(self) -> str:
        """As in ModelInferRequest, like all below."""
        name: str = self.template.request.model_name
        return name

    @property
    def model_version(self) -> str:  # noqa: D102
        version: str = self.template.request.model_version
        return version

    @property
    def id(self) -> str:  # noqa: D102
        identity: str = self.template.request.id
        return identity


class InferReader(TemplateReader[ModelInferRequest, TemplatedInfer]):
    """Reads the ModelInfer requests of one server. Use it only from the event loop."""

    request_type = ModelInferRequest
    templated_type = TemplatedInfer
    path_to_elements = (7,)  # ModelInferRequest.raw_input_contents

    def elements_of(self, request: ModelInferRequest) -> bytes | None:
        """Return the raw content of the only input; None if there are parameters to consider."""
        if len(request.inputs) != 1 or len(request.raw_input_contents) != 1 or request.parameters:
            return None
        tensor = request.inputs[0]
        if tensor.parameters or tensor.HasField("contents") or tensor.datatype in _CONVERTED:
            return None
        if any(output.parameters for output in request.outputs):
            return None
        content: bytes = request.raw_input_contents[0]
        return content

    def set_elements(self, request: ModelInferRequest, elements: bytes) -> None:
        """Replace the raw content of the only input."""
        request.raw_input_contents[0] = elements

    def describe(self, request: ModelInferRequest) -> Described:
        """Return what the requests of a template have in common."""
        tensor, content = request.inputs[0], request.raw_input_contents[0]
        return Described(
            ModelSpec(request.model_name, version_number(request.model_version)),
            tensor.name,
            tensor_bytes.decode_raw(tensor.datatype, tensor.shape, content),
            tuple(output.name for output in request.outputs),
        )


class EncodedInferResponse(NamedTuple):
    """A serialized ModelInferResponse.

    Attributes:
        payload: The serialized message.
    """

    payload: bytes

    def SerializeToString(self) -> bytes:  # noqa: N802 - the name in protobuf's messages
        """Return the serialized message."""
        return self.payload


def encode_raw_response(
    model: str, version: int, identity: str, outputs: Mapping[str, np.ndarray]
) -> EncodedInferResponse:
    """Serialize a ModelInferResponse with raw contents.

    Args:
        model: Name of the model that answered.
        version: Version of the model.
        identity: The request's id; empty if it has none.
        outputs: Arrays by output alias.

    Raises:
        Unsupported: an output's element type has no datatype in the protocol.
    """
    # Serialized messages one after another are one message: protobuf merges them.
    head = _serialized_model(model, version)
    if identity:
        head += ModelInferResponse(id=identity).SerializeToString()
    if isinstance(outputs, RequestRows) and outputs.start < outputs.end:
        batch = outputs.of_batch("ModelInfer", _encode_batch)
        if batch is not None:
            return EncodedInferResponse(batch.answer(head, outputs.start, outputs.end))
    parts = [head]
    contents: list[bytes] = []
    for alias, array in outputs.items():
        described, before_content = _around_content(alias, array.dtype, array.shape)
        parts.append(described)
        if before_content:
            contents += (before_content, array.tobytes())
        else:
            content = tensor_bytes.encode_raw(array)
            contents.append(ModelInferResponse(raw_output_contents=[content]).SerializeToString())
    return EncodedInferResponse(b"".join(parts + contents))


def _encode_batch(arrays: Arrays) -> EncodedBatch | None:
    """Encode a batch; return None if the content of an output is not that of its array."""
    if not arrays or not all(_is_content(array.dtype) for array in arrays.values()):
        return None
    contents = [(bytes_of(array), array.nbytes // len(array)) for array in arrays.values()]

    def describe(rows: int) -> list[bytes]:
        around = [
            _around_content(alias, array.dtype, (rows, *array.shape[1:]))
            for alias, array in arrays.items()
        ]
        # The descriptions of all outputs come first, as in the answers that protobuf writes.
        described = b"".join([described for described, _ in around])
        first, *others = [before for _, before in around]
        return [described + first, *others]

    return EncodedBatch(contents, describe)


@lru_cache(maxsize=256)
def _serialized_model(model: str, version: int) -> bytes:
    return ModelInferResponse(model_name=model, model_version=str(version)).SerializeToString()


def _is_content(dtype: np.dtype) -> bool:
    """Return whether the bytes of an array are its raw content."""
    is_text = DataType.from_numpy(dtype) is DataType.DT_STRING
    return not is_text and dtype.newbyteorder("<") == dtype


@lru_cache(maxsize=1024)
def _around_content(alias: str, dtype: np.dtype, shape: tuple[int, ...]) -> tuple[bytes, bytes]:
    """Return the bytes of an output's description, and those before its raw content.

    The latter are empty if protobuf must write the content, because it has no fixed length or its
    bytes are not those of the array.
    """
    response = ModelInferResponse()
    datatype = tensor_bytes.datatype_of(DataType.from_numpy(dtype))
    response.outputs.add(name=alias, datatype=datatype, shape=shape)
    described = response.SerializeToString()
    if not _is_content(dtype):
        return described, b""
    zeros = bytes(np.zeros(shape, dtype).nbytes)
    content = ModelInferResponse(raw_output_contents=[zeros]).SerializeToString()
    return described, content[: len(content) - len(zeros)]
