"""A stub of KServe's gRPC API, and requests to send by it."""

import grpc
import numpy as np
import pytest

from serving.protocols.kserve import tensor_bytes
from serving.protos import kserve_pb2
from serving.protos.kserve_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelRepositoryParameter,
    RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest,
)

SERVICE = "/inference.GRPCInferenceService/"
# Triton's extensions that a server has whose models no call may load or unload.
EXTENSIONS = {"binary_tensor_data", "classification", "model_configuration", "statistics"}
# Settings of a server whose models calls load and unload.
EXPLICIT = {"model_control_mode": "explicit"}
ELEMENTS = {
    "BOOL": [True, False],
    "UINT8": [0, 255],
    "UINT16": [0, 65535],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "INT8": [-128, 127],
    "INT16": [-(2**15), 2**15 - 1],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP16": [0.5, -65504.0],
    "FP32": [0.1, -0.0],
    "FP64": [0.1, 1e300],
    "BYTES": ["grün".encode(), b""],
}


class Stub:
    """Calls the protocol's methods on a channel, with this project's messages."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def call(self, method: str, **fields: object):
        """Return the answer to a request with these fields."""
        return self.send(method, getattr(kserve_pb2, f"{method}Request")(**fields))

    def send(self, method: str, request):
        """Return the answer to a request."""
        response = getattr(kserve_pb2, f"{method}Response")
        call = self._channel.unary_unary(
            SERVICE + method, lambda message: message.SerializeToString(), response.FromString
        )
        return call(request, timeout=10)

    def refusal(self, method: str, request) -> tuple[str, str]:
        """Return code and message of the error that answers a request."""
        with pytest.raises(grpc.RpcError) as caught:
            self.send(method, request)
        return caught.value.code().name, caught.value.details()


class RepositoryStub(Stub):
    """Calls the methods that load, unload and list models."""

    def load(self, name: str, **parameters: object) -> None:
        """Load a model."""
        self.send("RepositoryModelLoad", load_request(name, **parameters))

    def unload(self, name: str) -> None:
        """Unload a model."""
        self.send("RepositoryModelUnload", RepositoryModelUnloadRequest(model_name=name))

    def index(self, **fields: object) -> list[tuple[str, str, str, str]]:
        """Return name, version, state and reason of each entry of the index."""
        models = self.call("RepositoryIndex", **fields).models
        return [(one.name, one.version, one.state, one.reason) for one in models]

    def ready(self, *names: str) -> dict[str, bool]:
        """Return whether models can answer; without names, those of the fixture `own_models`."""
        return {
            name: self.call("ModelReady", name=name).ready for name in names or ("identity", "add")
        }


def load_request(name: str, **parameters: object) -> RepositoryModelLoadRequest:
    """Return a load request; a parameter `file_x` is called `file:x`."""
    request = RepositoryModelLoadRequest(model_name=name)
    for key, value in parameters.items():
        kind = "bytes_param" if isinstance(value, bytes) else "string_param"
        request.parameters[key.replace("file_", "file:")].CopyFrom(
            ModelRepositoryParameter(**{kind: value})
        )
    return request


def infer_request(model: str, *arrays: np.ndarray, names="x", raw=True, **fields):
    """Return a ModelInfer request whose inputs are named by single letters."""
    request = ModelInferRequest(model_name=model, **fields)
    for name, array in zip(names, arrays, strict=True):
        datatype = {"O": "BYTES"}.get(array.dtype.kind) or next(
            known
            for known in ELEMENTS
            if known != "BYTES" and tensor_bytes.to_data_type(known).numpy == array.dtype
        )
        tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            request.raw_input_contents.append(tensor_bytes.encode_raw(array))
        else:
            tensor_bytes.encode_contents(array, tensor.contents)
    return request


def raw_answers(response: ModelInferResponse) -> dict[str, np.ndarray]:
    assert not any(output.HasField("contents") for output in response.outputs)
    return {
        output.name: tensor_bytes.decode_raw(output.datatype, output.shape, content)
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def typed_answers(response: ModelInferResponse) -> dict[str, np.ndarray]:
    assert not response.raw_output_contents
    return {
        output.name: tensor_bytes.decode_contents(output.datatype, output.shape, output.contents)
        for output in response.outputs
    }


X = np.array([[1, 2, 3]], np.float32)
