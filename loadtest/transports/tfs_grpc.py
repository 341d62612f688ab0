"""TensorFlow Serving's gRPC API: Predict."""

from collections.abc import Mapping
from typing import Any

import grpc
import numpy.typing as npt
from google.protobuf.message import DecodeError

from loadtest.settings.config import PLAIN, ConnectionConfig
from loadtest.transports import api
from loadtest.transports.api import SCORE_NAMES, Api, CallError, ModelInput
from loadtest.transports.grpc_sender import channel_credentials
from serving.client import PREDICT_PATH, AsyncPredictClient, PredictError, predict_request
from serving.errors import InvalidInput
from serving.protocols.tfs import tensor_proto
from serving.protos.tensorflow_pb2 import TensorInfo
from serving.protos.tensorflow_serving_pb2 import PredictResponse, SignatureDefMap
from serving.tensors.signature import DataType

SIGNATURE = "serving_default"


class TfsGrpc(Api):
    """Predict calls for one model."""

    @property
    def path(self) -> str:
        """Full name of the method."""
        return PREDICT_PATH

    def encode(self, arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
        """See Api."""
        request = predict_request(
            self.model, arrays, version=self.version, version_label=self.version_label
        )
        return request.SerializeToString()

    def decode(self, response: bytes) -> tuple[dict[str, npt.NDArray[Any]], int | None]:
        """See Api."""
        try:
            message = PredictResponse.FromString(response)
            outputs = {
                name: tensor_proto.decode(tensor) for name, tensor in message.outputs.items()
            }
        except DecodeError as error:
            msg = f"{len(response)} bytes received, expected a PredictResponse"
            raise ValueError(msg) from error
        except InvalidInput as error:
            msg = f"an output cannot be read: {error.message}"
            raise ValueError(msg) from error
        spec = message.model_spec
        return outputs, spec.version.value if spec.HasField("version") else None


async def discover(
    target: str,
    model: str,
    version: int | None,
    *,
    timeout_seconds: float,
    connection: ConnectionConfig = PLAIN,
    version_label: str | None = None,
) -> TfsGrpc:
    """Ask the server for the model's inputs and return the API for it.

    With a server without metadata (UNIMPLEMENTED) the inputs are unknown.

    Args:
        target: `host:port`.
        model: Model name.
        version: Version number; None for the latest.
        timeout_seconds: Deadline of the request for metadata.
        connection: TLS and metadata.
        version_label: Version label; None for no label. Excludes `version`.

    Raises:
        CallError: The server cannot be reached, or does not serve the model.
    """
    async with AsyncPredictClient(
        target,
        timeout=timeout_seconds,
        credentials=channel_credentials(connection),
        metadata=connection.headers,
    ) as client:
        try:
            signatures = await client.signatures(
                model, version=version, version_label=version_label
            )
        except PredictError as error:
            if error.code is grpc.StatusCode.UNIMPLEMENTED:  # a server without metadata
                return TfsGrpc(model, version, version_label=version_label)
            raise CallError(error.code.name, error.message) from error
    return TfsGrpc(model, version, model_inputs(signatures), version_label=version_label)


def model_inputs(signatures: SignatureDefMap) -> tuple[ModelInput, ...]:
    """Return the inputs of a model's default signature, in the order of their names."""
    inputs = signatures.signature_def[SIGNATURE].inputs
    return tuple(_model_input(name, tensor) for name, tensor in sorted(inputs.items()))


def score_count(signatures: SignatureDefMap) -> int | None:
    """Return the number of scores that a model's default signature has; None if unknown."""
    outputs = signatures.signature_def[SIGNATURE].outputs
    for name in SCORE_NAMES:
        if name in outputs and len(outputs[name].tensor_shape.dim) == 2:
            size = outputs[name].tensor_shape.dim[1].size
            return size if size > 0 else None
    return None


def _model_input(name: str, tensor: TensorInfo) -> ModelInput:
    shape = tensor.tensor_shape
    return ModelInput(
        name=name,
        dtype=dtype_name(tensor.dtype),
        shape=None if shape.unknown_rank else tuple(dim.size for dim in shape.dim),
    )


def dtype_name(number: int) -> str:
    """Return NumPy's name of a tensor type, or "of dtype N" if TensorFlow's number N is unknown."""
    try:
        data_type = DataType(number)
    except ValueError:
        return f"of dtype {number}"
    return api.dtype_name(data_type)
