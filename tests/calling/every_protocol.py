"""One `Ask` function for each protocol, written without the server's code.

The exceptions are PredictClient for TensorFlow Serving's gRPC and KServe's generated messages.
"""

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

import grpc
import ml_dtypes
import numpy as np

from serving.client import PredictClient
from serving.protos.kserve_pb2 import ModelInferRequest, ModelInferResponse

Arrays = Mapping[str, np.ndarray]
# Takes a model's name, its inputs, and arrays with the aliases and dtypes of its outputs; returns
# the outputs.
Ask = Callable[[str, Arrays, Arrays], Arrays]

DATATYPES = {
    np.dtype(np.bool_): "BOOL",
    np.dtype(np.uint8): "UINT8",
    np.dtype(np.uint16): "UINT16",
    np.dtype(np.uint32): "UINT32",
    np.dtype(np.uint64): "UINT64",
    np.dtype(np.int8): "INT8",
    np.dtype(np.int16): "INT16",
    np.dtype(np.int32): "INT32",
    np.dtype(np.int64): "INT64",
    np.dtype(np.float16): "FP16",
    np.dtype(ml_dtypes.bfloat16): "BF16",
    np.dtype(np.float32): "FP32",
    np.dtype(np.float64): "FP64",
    np.dtype(object): "BYTES",
}
DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}
TIMEOUT_SECONDS = 30.0
HEADER_LENGTH = "Inference-Header-Content-Length"


@contextmanager
def tfs_grpc(address: str) -> Iterator[Ask]:
    """PredictionService.Predict by PredictClient: tensor_content out, typed values back."""
    with PredictClient(address) as client:
        yield lambda model, inputs, _: client.predict(model, inputs)


@contextmanager
def tfs_rest(address: str) -> Iterator[Ask]:
    """`POST /v1/models/NAME:predict` in the columnar form."""
    with closing(http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)) as connection:

        def ask(model: str, inputs: Arrays, like: Arrays) -> Arrays:
            columns = {alias: array.tolist() for alias, array in inputs.items()}
            answer = _post(connection, f"/v1/models/{model}:predict", {"inputs": columns})
            values = answer["outputs"]
            if len(like) == 1:
                values = dict.fromkeys(like, values)
            return {alias: np.array(value, like[alias].dtype) for alias, value in values.items()}

        yield ask


@contextmanager
def kserve_grpc(address: str) -> Iterator[Ask]:
    """GRPCInferenceService.ModelInfer with raw contents; typed contents if there are no inputs."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=ModelInferRequest.SerializeToString,
            response_deserializer=ModelInferResponse.FromString,
        )

        def ask(model: str, inputs: Arrays, _like: Arrays) -> Arrays:
            request = ModelInferRequest(model_name=model)
            for alias, array in inputs.items():
                request.inputs.add(name=alias, datatype=DATATYPES[array.dtype], shape=array.shape)
                request.raw_input_contents.append(_raw(array))
            response = call(request, timeout=TIMEOUT_SECONDS)
            return {
                output.name: _elements(response, index).reshape(tuple(output.shape))
                for index, output in enumerate(response.outputs)
            }

        yield ask


@contextmanager
def kserve_rest(address: str) -> Iterator[Ask]:
    """`POST /v2/models/NAME/infer` with the data in JSON: flat lists beside the shape."""
    with closing(http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)) as connection:

        def ask(model: str, inputs: Arrays, _like: Arrays) -> Arrays:
            tensors = [
                {
                    "name": alias,
                    "datatype": DATATYPES[array.dtype],
                    "shape": array.shape,
                    "data": array.ravel().tolist(),
                }
                for alias, array in inputs.items()
            ]
            answer = _post(connection, f"/v2/models/{model}/infer", {"inputs": tensors})
            return {
                output["name"]: np.array(output["data"], DTYPES[output["datatype"]]).reshape(
                    output["shape"]
                )
                for output in answer["outputs"]
            }

        yield ask


@contextmanager
def kserve_binary(address: str) -> Iterator[Ask]:
    """`POST /v2/models/NAME/infer` with binary data after the JSON, in both directions."""
    with closing(http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)) as connection:

        def ask(model: str, inputs: Arrays, _like: Arrays) -> Arrays:
            contents = {alias: _raw(array) for alias, array in inputs.items()}
            tensors = [
                {
                    "name": alias,
                    "datatype": DATATYPES[array.dtype],
                    "shape": array.shape,
                    "parameters": {"binary_data_size": len(contents[alias])},
                }
                for alias, array in inputs.items()
            ]
            document = {"inputs": tensors, "parameters": {"binary_data_output": True}}
            header = json.dumps(document).encode()
            connection.request(
                "POST",
                f"/v2/models/{model}/infer",
                b"".join([header, *contents.values()]),
                {HEADER_LENGTH: str(len(header))},
            )
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, body
            position = int(response.headers[HEADER_LENGTH])
            arrays = {}
            for output in json.loads(body[:position])["outputs"]:
                end = position + output["parameters"]["binary_data_size"]
                elements = _from_raw(body[position:end], DTYPES[output["datatype"]])
                arrays[output["name"]] = elements.reshape(output["shape"])
                position = end
            return arrays

        yield ask


PROTOCOLS = {
    "TFS gRPC": tfs_grpc,
    "TFS REST": tfs_rest,
    "KServe gRPC": kserve_grpc,
    "KServe REST": kserve_rest,
    "KServe REST, binary": kserve_binary,
}


def _post(connection: http.client.HTTPConnection, path: str, document: object) -> dict:
    connection.request("POST", path, json.dumps(document).encode())
    response = connection.getresponse()
    answer = json.loads(response.read())
    assert response.status == 200, answer
    return answer


def _raw(array: np.ndarray) -> bytes:
    """Return an array in KServe's binary form; each string follows its length in 4 bytes."""
    if array.dtype.kind != "O":
        return array.tobytes()
    texts = [value.encode() for value in array.flat]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _elements(response: ModelInferResponse, index: int) -> np.ndarray:
    """Return the elements of an output, flat."""
    output = response.outputs[index]
    dtype = DTYPES[output.datatype]
    if not response.raw_output_contents:
        ((_, values),) = output.contents.ListFields()
        return np.array(values, dtype)
    return _from_raw(response.raw_output_contents[index], dtype)


def _from_raw(content: bytes, dtype: np.dtype) -> np.ndarray:
    """Return the elements in KServe's binary form, flat."""
    if dtype.kind != "O":
        return np.frombuffer(content, dtype)
    texts = []
    while content:
        end = 4 + int.from_bytes(content[:4], "little")
        texts.append(content[4:end].decode())
        content = content[end:]
    return np.array(texts, object)
