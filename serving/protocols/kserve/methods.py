"""The Open Inference Protocol's gRPC service (KServe v2): decode, call the operation, encode.

A request with `raw_input_contents` is answered with `raw_output_contents`, and a request with typed
contents is answered with typed contents: each client gets the form that it uses. FP16 and BF16 have
no typed form: if an answer has such an output, all its outputs are raw. Triton also answers typed
requests in raw form, and some clients expect it: `--kserve_raw_answers` makes all answers raw.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from serving.access.roles import Role
from serving.errors import InvalidInput, NotFound, Unavailable
from serving.inference.request import Prediction
from serving.monitoring import identity
from serving.protocols.kserve import tensor_bytes
from serving.protocols.kserve.classification import PARAMETER as CLASSIFICATION
from serving.protocols.kserve.classification import count_of
from serving.protocols.kserve.infer_messages import (
    EncodedInferResponse,
    InferReader,
    TemplatedInfer,
    encode_raw_response,
)
from serving.protocols.kserve.operations import (
    KServeOperations,
    TensorMetadata,
    check_tensor_parameters,
)
from serving.protos.kserve_pb2 import (
    InferParameter,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveRequest,
    ServerLiveResponse,
    ServerMetadataRequest,
    ServerMetadataResponse,
    ServerReadyRequest,
    ServerReadyResponse,
)
from serving.tensors.admission import Admit
from serving.tensors.signature import DataType
from serving.transport.method_table import Call, Method, UnaryMethod

KSERVE_SERVICE = "inference.GRPCInferenceService"


class _ProtoInput(NamedTuple):
    """An input, and its raw content if the request is raw."""

    tensor: ModelInferRequest.InferInputTensor
    raw: bytes | None


class KServeMethods:
    """Handlers of GRPCInferenceService."""

    def __init__(self, operations: KServeOperations, *, raw_answers: bool = False) -> None:
        """Bind the handlers.

        Args:
            operations: The protocol's operations, which the handlers call.
            raw_answers: Whether typed requests get raw answers, too (`--kserve_raw_answers`).
        """
        self._operations = operations
        self._raw_answers = raw_answers

    def methods(self) -> list[Method]:
        """Return the rows of the method table."""
        return [
            UnaryMethod(
                path=f"/{KSERVE_SERVICE}/ServerLive",
                request_type=ServerLiveRequest,
                handler=self.server_live,
                role=Role.HEALTH,
                traced=False,
            ),
            UnaryMethod(
                path=f"/{KSERVE_SERVICE}/ServerReady",
                request_type=ServerReadyRequest,
                handler=self.server_ready,
                role=Role.HEALTH,
                traced=False,
            ),
            UnaryMethod(
                path=f"/{KSERVE_SERVICE}/ModelReady",
                request_type=ModelReadyRequest,
                handler=self.model_ready,
                role=Role.HEALTH,
                traced=False,
            ),
            UnaryMethod(
                path=f"/{KSERVE_SERVICE}/ServerMetadata",
                request_type=ServerMetadataRequest,
                handler=self.server_metadata,
                role=Role.METADATA,
            ),
            UnaryMethod(
                path=f"/{KSERVE_SERVICE}/ModelMetadata",
                request_type=ModelMetadataRequest,
                handler=self.model_metadata,
                role=Role.METADATA,
            ),
            UnaryMethod(
                path=f"/{KSERVE_SERVICE}/ModelInfer",
                request_type=ModelInferRequest,
                handler=self.model_infer,
                role=Role.PREDICT,
                parse=InferReader().read,
            ),
        ]

    async def server_live(self, _request: ServerLiveRequest, _call: Call) -> ServerLiveResponse:
        """Answer GRPCInferenceService.ServerLive: a server that answers is alive."""
        return ServerLiveResponse(live=True)

    async def server_ready(self, _request: ServerReadyRequest, _call: Call) -> ServerReadyResponse:
        """Answer GRPCInferenceService.ServerReady."""
        try:
            self._operations.check_server_ready()
        except Unavailable:
            return ServerReadyResponse(ready=False)
        return ServerReadyResponse(ready=True)

    async def model_ready(self, request: ModelReadyRequest, _call: Call) -> ModelReadyResponse:
        """Answer GRPCInferenceService.ModelReady; as in Triton, an unknown model is not ready."""
        try:
            self._operations.check_model_ready(request.name, request.version)
        except (NotFound, Unavailable):
            return ModelReadyResponse(ready=False)
        return ModelReadyResponse(ready=True)

    async def server_metadata(
        self, _request: ServerMetadataRequest, _call: Call
    ) -> ServerMetadataResponse:
        """Answer GRPCInferenceService.ServerMetadata."""
        return ServerMetadataResponse(
            name=self._operations.server_name,
            version=identity.version(),
            extensions=self._operations.extensions,
        )

    async def model_metadata(
        self, request: ModelMetadataRequest, _call: Call
    ) -> ModelMetadataResponse:
        """Answer GRPCInferenceService.ModelMetadata."""
        metadata = self._operations.model_metadata(request.name, request.version)
        return ModelMetadataResponse(
            name=metadata.name,
            versions=metadata.versions,
            platform=metadata.platform,
            inputs=_tensor_metadata(metadata.inputs),
            outputs=_tensor_metadata(metadata.outputs),
            parameters={
                name: InferParameter(string_param=value)
                for name, value in metadata.parameters.items()
            },
        )

    async def model_infer(
        self, request: ModelInferRequest | TemplatedInfer, call: Call
    ) -> ModelInferResponse | EncodedInferResponse:
        """Answer GRPCInferenceService.ModelInfer."""
        if isinstance(request, TemplatedInfer):
            prediction = await self._operations.infer_templated(
                request, request.model_version, call.deadline
            )
            return _raw_response(request.id, prediction)
        classes: dict[str, int] = {}
        for output in request.outputs:
            where = f'output "{output.name}"'
            check_tensor_parameters(where, output.parameters)
            if CLASSIFICATION in output.parameters:
                count = _parameters(output.parameters)[CLASSIFICATION]
                classes[output.name] = count_of(where, count)
        prediction = await self._operations.infer(
            request.model_name,
            request.model_version,
            _parameters(request.parameters),
            _wire_tensors(request),
            _decode,
            outputs=[output.name for output in request.outputs],
            classes=classes,
            deadline=call.deadline,
            account=call.hold,
        )
        arrays = prediction.outputs.values()
        if (
            self._raw_answers
            or request.raw_input_contents
            or not all(tensor_bytes.has_typed_form(array) for array in arrays)
        ):
            return _raw_response(request.id, prediction)
        return _typed_response(request.id, prediction)


def _tensor_metadata(
    tensors: Iterable[TensorMetadata],
) -> list[ModelMetadataResponse.TensorMetadata]:
    return [
        ModelMetadataResponse.TensorMetadata(
            name=tensor.name, datatype=tensor.datatype, shape=tensor.shape
        )
        for tensor in tensors
    ]


def _parameters(parameters: Mapping[str, InferParameter]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        values[name] = None if choice is None else getattr(parameter, choice)
    return values


def _wire_tensors(request: ModelInferRequest) -> list[tuple[str, _ProtoInput]]:
    contents: list[bytes | None] = list(request.raw_input_contents)
    if not contents:
        contents = [None] * len(request.inputs)
    else:
        for tensor in request.inputs:
            if tensor.HasField("contents"):  # the message is Triton's
                msg = (
                    "contents field must not be specified when using raw_input_contents for "
                    f"'{tensor.name}' for model '{request.model_name}'"
                )
                raise InvalidInput(msg)
    if len(contents) != len(request.inputs):
        msg = (
            f"raw_input_contents has {len(contents)} entries, expected {len(request.inputs)}, one "
            "for each input in the order of the inputs"
        )
        raise InvalidInput(msg)
    return [
        (tensor.name, _ProtoInput(tensor, raw))
        for tensor, raw in zip(request.inputs, contents, strict=True)
    ]


def _decode(wire: _ProtoInput, admit: Admit) -> np.ndarray:
    tensor, raw = wire
    check_tensor_parameters(f'input "{tensor.name}"', tensor.parameters)
    if raw is None:
        return tensor_bytes.decode_contents(tensor.datatype, tensor.shape, tensor.contents, admit)
    return tensor_bytes.decode_raw(tensor.datatype, tensor.shape, raw, admit)


def _raw_response(identity: str, prediction: Prediction) -> EncodedInferResponse:
    servable = prediction.servable
    return encode_raw_response(servable.name, servable.version, identity, prediction.outputs)


def _typed_response(identity: str, prediction: Prediction) -> ModelInferResponse:
    response = ModelInferResponse(
        model_name=prediction.servable.name,
        model_version=str(prediction.servable.version),
        id=identity,
    )
    for alias, array in prediction.outputs.items():
        datatype = tensor_bytes.datatype_of(DataType.from_numpy(array.dtype))
        output = response.outputs.add(name=alias, datatype=datatype, shape=array.shape)
        tensor_bytes.encode_contents(array, output.contents)
    return response
