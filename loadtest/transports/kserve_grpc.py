"""The Open Inference Protocol (KServe v2) over gRPC: ModelInfer with raw contents."""

from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from loadtest.settings.config import PLAIN, ConnectionConfig, UsageError
from loadtest.transports import api
from loadtest.transports.api import Api, CallError, ModelInput
from loadtest.transports.grpc_sender import method, open_channel
from serving.errors import InvalidInput, Unsupported
from serving.protocols.kserve import tensor_bytes
from serving.protos.kserve_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
)
from serving.tensors.signature import DataType

_SERVICE = "/inference.GRPCInferenceService"


class KserveGrpc(Api):
    """ModelInfer calls for one model."""

    @property
    def path(self) -> str:
        """Full name of the method."""
        return f"{_SERVICE}/ModelInfer"

    def encode(self, arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
        """See Api."""
        request = ModelInferRequest(
            model_name=self.model,
            model_version="" if self.version is None else str(self.version),
            inputs=[
                ModelInferRequest.InferInputTensor(
                    name=name, datatype=datatype_of(array), shape=array.shape
                )
                for name, array in arrays.items()
            ],
            raw_input_contents=[tensor_bytes.encode_raw(array) for array in arrays.values()],
        )
        return request.SerializeToString()

    def decode(self, response: bytes) -> tuple[dict[str, npt.NDArray[Any]], int | None]:
        """See Api."""
        try:
            message = ModelInferResponse.FromString(response)
            outputs = _outputs(message)
        except DecodeError as error:
            msg = f"{len(response)} bytes received, expected a ModelInferResponse"
            raise ValueError(msg) from error
        except InvalidInput as error:
            msg = f"an output cannot be read: {error.message}"
            raise ValueError(msg) from error
        return outputs, version_number(message.model_version)


async def discover(
    target: str,
    model: str,
    version: int | None,
    *,
    timeout_seconds: float,
    connection: ConnectionConfig = PLAIN,
) -> KserveGrpc:
    """Ask the server for the model's inputs; see `tfs_grpc.discover`."""
    request = ModelMetadataRequest(name=model, version="" if version is None else str(version))
    async with open_channel(target, connection) as channel:
        ask = method(channel, f"{_SERVICE}/ModelMetadata")
        try:
            answer = await ask(
                request.SerializeToString(),
                timeout=timeout_seconds,
                metadata=connection.headers or None,
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:  # a server without metadata
                return KserveGrpc(model, version)
            raise CallError(error.code().name, error.details() or "") from error
    metadata = ModelMetadataResponse.FromString(answer)
    inputs = tuple(
        ModelInput(known.name, dtype_name(known.datatype), tuple(known.shape))
        for known in metadata.inputs
    )
    return KserveGrpc(model, version, inputs)


def datatype_of(array: npt.NDArray[Any]) -> str:
    """Return the protocol's name of an array's element type.

    Raises:
        UsageError: The protocol has none for it (complex numbers).
    """
    try:
        return tensor_bytes.datatype_of(DataType.from_numpy(array.dtype))
    except Unsupported as error:
        msg = f"KServe's protocol has no datatype for {array.dtype}; use --transport tfs-grpc"
        raise UsageError(msg) from error


def version_number(text: object) -> int | None:
    """Return the version that an answer names; None if it names none, or not by a number."""
    return int(text) if isinstance(text, str) and text.isdecimal() else None


def dtype_name(datatype: str) -> str:
    """Return NumPy's name of a datatype, or the protocol's name if NumPy has no such type."""
    try:
        data_type = tensor_bytes.to_data_type(datatype)
    except InvalidInput:
        return datatype
    return api.dtype_name(data_type)


def _outputs(message: ModelInferResponse) -> dict[str, np.ndarray]:
    raw = message.raw_output_contents
    if raw and len(raw) != len(message.outputs):
        msg = f"{len(raw)} raw_output_contents for {len(message.outputs)} outputs"
        raise InvalidInput(msg)
    return {
        output.name: (
            tensor_bytes.decode_raw(output.datatype, output.shape, raw[index])
            if raw
            else tensor_bytes.decode_contents(output.datatype, output.shape, output.contents)
        )
        for index, output in enumerate(message.outputs)
    }
