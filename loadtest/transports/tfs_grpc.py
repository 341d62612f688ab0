"""TensorFlow Serving's gRPC API: Predict."""

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from loadtest.settings.config import PLAIN, ConnectionConfig
from loadtest.transports.api import (
    Answer,
    Api,
    CallError,
    ModelInput,
    check_input,
    read_classes,
)
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

    def payload(self, images: npt.NDArray[np.uint8]) -> bytes:
        """See Api."""
        array = images.astype(self.model_input.dtype, copy=False)
        request = predict_request(
            self.model,
            {self.model_input.name: array},
            version=self.version,
            version_label=self.version_label,
        )
        return request.SerializeToString()

    def parse(self, response: bytes, rows: int) -> Answer:
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
        classes, output = read_classes(outputs, rows)
        spec = message.model_spec
        return Answer(classes, spec.version.value if spec.HasField("version") else None, output)


async def discover(
    target: str,
    model: str,
    version: int | None,
    *,
    batch: int,
    timeout_seconds: float,
    connection: ConnectionConfig = PLAIN,
    version_label: str | None = None,
) -> TfsGrpc:
    """Ask the server for the model's input and return the API for it.

    A server without metadata (UNIMPLEMENTED) gets the input of the bundled classifiers.

    Args:
        target: `host:port`.
        model: Model name.
        version: Version number; None for the latest.
        batch: Images in a request.
        timeout_seconds: Deadline of the request for metadata.
        connection: TLS and metadata.
        version_label: Version label; None for no label. Excludes `version`.

    Raises:
        CallError: The server cannot be reached, or does not serve the model.
        UsageError: Test images do not fit the model's input.
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
    known = model_input(signatures, model=model, batch=batch)
    return TfsGrpc(model, version, known, version_label=version_label)


def model_input(signatures: SignatureDefMap, *, model: str, batch: int) -> ModelInput:
    """Return the input of a model's default signature; see `check_input`."""
    inputs = signatures.signature_def[SIGNATURE].inputs
    return check_input(
        [_model_input(name, tensor) for name, tensor in inputs.items()], model=model, batch=batch
    )


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
    return "string" if data_type is DataType.DT_STRING else data_type.numpy.name
