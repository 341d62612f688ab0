"""The Open Inference Protocol over HTTP (KServe v2): decode, call the operation, encode.

Tensors are sent in JSON or, by Triton's binary tensor data extension, as raw bytes after the JSON;
the header `Inference-Header-Content-Length` then has the length of the JSON. Follows the Open
Inference Protocol (specification/protocol/inference_rest.md) and Triton's
extension_binary_data.md.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from serving.access.roles import Role
from serving.errors import InvalidInput
from serving.inference.request import Prediction, as_it_is
from serving.monitoring import identity
from serving.monitoring.counts import REST
from serving.protocols.json_process import ELEMENT_BYTES, JsonProcesses
from serving.protocols.kserve import json_tensors, tensor_bytes
from serving.protocols.kserve.classification import PARAMETER as CLASSIFICATION
from serving.protocols.kserve.classification import count_of
from serving.protocols.kserve.operations import (
    KServeOperations,
    TensorMetadata,
    check_tensor_parameters,
)
from serving.protocols.time_limit import time_limit
from serving.tensors.admission import Admit
from serving.tensors.signature import DataType
from serving.transport.route_table import JSON, HttpRequest, HttpResponse, Route, json_response

Value = TypeVar("Value")

HEADER_LENGTH = b"inference-header-content-length"
_BINARY = "application/octet-stream"
MODEL = r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?"
_LIVE = re.compile(r"/v2/health/live")
_READY = re.compile(r"/v2/health/ready")
_MODEL_READY = re.compile(MODEL + "/ready")
_KIND_NAMES = {
    bool: "true or false",
    dict: "an object",
    int: "an integer",
    list: "a list",
    str: "a string",
}


class _JsonInput(NamedTuple):
    """An input: its entry in the JSON, and its raw content if it was sent in binary."""

    entry: Mapping[str, Any]
    raw: memoryview | None


class _Output(NamedTuple):
    """A requested output, whether it is to be sent in binary, and the number of its classes."""

    name: str
    binary: bool
    classes: int


class KServeRoutes:
    """Handlers of the protocol's HTTP requests."""

    def __init__(
        self, operations: KServeOperations, json: JsonProcesses, *, timeout_in_ms: int = 30_000
    ) -> None:
        """Bind the handlers.

        Args:
            operations: The protocol's operations, which the handlers call.
            json: Child processes that read and write large bodies.
            timeout_in_ms: Time limit of an inference in milliseconds, from the last byte of its
                request on (`--rest_api_timeout_in_ms`).
        """
        self._operations = operations
        self._json = json
        self._timeout_in_ms = timeout_in_ms

    def routes(self) -> list[Route]:
        """Return the rows of the route table."""
        return [
            Route("GET", re.compile(r"/v2/?"), self.server_metadata, role=Role.METADATA),
            Route("GET", _LIVE, self.server_live, role=Role.HEALTH, traced=False),
            Route("GET", _READY, self.server_ready, role=Role.HEALTH, traced=False),
            Route("GET", re.compile(MODEL), self.model_metadata, role=Role.METADATA),
            Route("GET", _MODEL_READY, self.model_ready, role=Role.HEALTH, traced=False),
            Route("POST", re.compile(MODEL + "/infer"), self.infer, role=Role.PREDICT),
        ]

    async def server_live(self, _request: HttpRequest) -> HttpResponse:
        """Answer `GET /v2/health/live` with 200: a server that answers is alive."""
        return json_response({"live": True})

    async def server_ready(self, _request: HttpRequest) -> HttpResponse:
        """Answer `GET /v2/health/ready` with 200 if ready, otherwise with 503 and the reason.

        An addition to the protocol: `failed_models` names the models that could not be loaded.
        """
        self._operations.check_server_ready()
        failed = self._operations.failed_models()
        return json_response({"ready": True} | ({"failed_models": failed} if failed else {}))

    async def model_ready(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /v2/models/NAME[/versions/V]/ready` with 200 if ready, or with an error."""
        name, version = model_of(request)
        self._operations.check_model_ready(name, version)
        return json_response({"name": name, "ready": True})

    async def server_metadata(self, _request: HttpRequest) -> HttpResponse:
        """Answer `GET /v2`."""
        return json_response(
            {
                "name": self._operations.server_name,
                "version": identity.version(),
                "extensions": self._operations.extensions,
            }
        )

    async def model_metadata(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /v2/models/NAME[/versions/V]`."""
        metadata = self._operations.model_metadata(*model_of(request))
        return json_response(
            {
                "name": metadata.name,
                "versions": metadata.versions,
                "platform": metadata.platform,
                "inputs": _tensor_metadata(metadata.inputs),
                "outputs": _tensor_metadata(metadata.outputs),
                "parameters": metadata.parameters,
            }
        )

    async def infer(self, request: HttpRequest) -> HttpResponse:
        """Answer `POST /v2/models/NAME[/versions/V]/infer`."""
        async with time_limit(self._timeout_in_ms) as deadline:
            return await self._infer(request, deadline)

    async def _infer(self, request: HttpRequest, deadline: float) -> HttpResponse:
        name, version = model_of(request)
        body, binary = await self._read(request)
        parameters = _member(body, "parameters", dict, "the request", {})
        all_binary = _member(parameters, "binary_data_output", bool, "the request", False)
        outputs = [
            _requested(entry, all_binary=all_binary)
            for entry in _members(body, "outputs", "the request", [])
        ]
        prediction = await self._operations.infer(
            name,
            version,
            parameters,
            _wire_tensors(body, binary),
            _decode,
            outputs=[output.name for output in outputs],
            classes={output.name: output.classes for output in outputs if output.classes},
            deadline=deadline,
            account=request.hold,
            entrypoint=REST,
        )
        binary_names = {output.name for output in outputs if output.binary}
        if all_binary and not outputs:
            binary_names = set(prediction.outputs)
        request_id = _member(body, "id", str, "the request", "")
        return await self._respond(request, prediction, request_id, binary_names)

    async def _read(self, request: HttpRequest) -> tuple[Mapping[str, Any], memoryview]:
        """Read the JSON object at the beginning of a body; return it and the binary data after it.

        Raises:
            ServingError: the JSON part is not a JSON object, or see `JsonProcesses.run_for`.
        """
        text, binary = _split(request)
        try:
            body = await self._json.run_for(request, len(text), json_tensors.read, bytes(text))
        except InvalidInput as error:
            if HEADER_LENGTH in request.headers:
                raise
            msg = (
                f"{error.message}; binary tensor data after it needs the header "
                "Inference-Header-Content-Length"
            )
            raise InvalidInput(msg) from error
        if not isinstance(body, dict):
            msg = f"request is JSON of kind {json_tensors.kind_of(body)}, expected an object"
            raise InvalidInput(msg)
        return body, binary

    async def _respond(
        self,
        request: HttpRequest,
        prediction: Prediction,
        request_id: str,
        binary_names: Collection[str],
    ) -> HttpResponse:
        body, contents = _infer_response(prediction, request_id, binary_names)
        elements = sum(output["data"].size for output in body["outputs"] if "data" in output)
        header = await self._json.run_for(
            request, ELEMENT_BYTES * elements, json_tensors.write, body
        )
        if not contents:
            return HttpResponse(body=header, content_type=JSON)
        return HttpResponse(
            body=b"".join([header, *contents]),
            content_type=_BINARY,
            headers=[(HEADER_LENGTH, str(len(header)).encode())],
        )


def model_of(request: HttpRequest) -> tuple[str, str]:
    """Return name and version of the model in a path that `MODEL` matches; empty if missing."""
    return request.parameters["name"] or "", request.parameters["version"] or ""


def _tensor_metadata(tensors: Iterable[TensorMetadata]) -> list[dict[str, Any]]:
    return [tensor._asdict() for tensor in tensors]


def _split(request: HttpRequest) -> tuple[memoryview, memoryview]:
    """Split a body into its JSON part and the binary data after it.

    Raises:
        InvalidInput: the header `Inference-Header-Content-Length` has no valid length.
    """
    content = memoryview(request.body)
    length = request.headers.get(HEADER_LENGTH)
    end = len(content)
    if length is not None:
        if not length.isdigit() or len(length) > len(str(end)) or int(length) > end:
            msg = (
                f"Inference-Header-Content-Length is {length.decode('latin-1')!r}, expected the "
                f"length of the JSON part, at most the body's {end} bytes"
            )
            raise InvalidInput(msg)
        end = int(length)
    return content[:end], content[end:]


def _member(
    entry: Mapping[str, Any], key: str, kind: type[Value], where: str, default: Value | None = None
) -> Value:
    """Return a member of a JSON object; if the object has no such member, return the default.

    Raises:
        InvalidInput: the member is of another kind, or it is missing and has no default.
    """
    value = entry.get(key, default)
    if type(value) is not kind:  # not isinstance: True would count as an integer
        received = json_tensors.kind_of(value) if key in entry else "missing"
        msg = f'"{key}" of {where} is {received}, expected {_KIND_NAMES[kind]}'
        raise InvalidInput(msg)
    return value


def _members(
    entry: Mapping[str, Any], key: str, where: str, default: list[Any] | None = None
) -> list[dict[str, Any]]:
    """Return a member of a JSON object that is a list of objects; see `_member`."""
    values = _member(entry, key, list, where, default)
    for value in values:
        if type(value) is not dict:
            msg = f'"{key}" of {where} has {json_tensors.kind_of(value)}, expected only objects'
            raise InvalidInput(msg)
    return values


def _requested(entry: Mapping[str, Any], *, all_binary: bool) -> _Output:
    name = _member(entry, "name", str, "an output")
    where = f'output "{name}"'
    parameters = _member(entry, "parameters", dict, where, {})
    check_tensor_parameters(where, parameters)
    binary = _member(parameters, "binary_data", bool, where, all_binary)
    return _Output(name, binary, count_of(where, parameters.get(CLASSIFICATION, 0)))


def _wire_tensors(body: Mapping[str, Any], binary: memoryview) -> list[tuple[str, _JsonInput]]:
    """Return the inputs with their names, each with its part of the binary data.

    Raises:
        InvalidInput: an entry is malformed, or the inputs' sizes do not add up to the binary data.
        Unsupported: see `check_tensor_parameters`.
    """
    tensors = []
    position = 0
    for entry in _members(body, "inputs", "the request"):
        name = _member(entry, "name", str, "an input")
        where = f'input "{name}"'
        parameters = _member(entry, "parameters", dict, where, {})
        check_tensor_parameters(where, parameters)
        raw = None
        if "binary_data_size" in parameters:
            size = _member(parameters, "binary_data_size", int, where)
            left = len(binary) - position
            if not 0 <= size <= left:
                msg = (
                    f"binary_data_size of {where} is {size}, but {left} bytes of binary data are "
                    "left; they follow the JSON part, whose length the header "
                    "Inference-Header-Content-Length gives"
                )
                raise InvalidInput(msg)
            raw = binary[position : position + size]
            position += size
        tensors.append((name, _JsonInput(entry, raw)))
    if position < len(binary):
        msg = (
            f"request has {len(binary)} bytes of binary data, expected {position}, the sum of the "
            "inputs' binary_data_size"
        )
        raise InvalidInput(msg)
    return tensors


def _decode(wire: _JsonInput, admit: Admit) -> np.ndarray:
    entry, raw = wire
    where = f'input "{entry["name"]}"'
    datatype = _member(entry, "datatype", str, where)
    shape = _member(entry, "shape", list, where)
    for size in shape:
        if type(size) is not int:
            msg = f"shape has {json_tensors.kind_of(size)}, expected only integers"
            raise InvalidInput(msg)
    if raw is None:
        data = entry.get("data")
        if isinstance(data, np.ndarray):
            return as_it_is(data, admit)
        if isinstance(data, InvalidInput):
            raise data
        return json_tensors.decode(datatype, shape, _member(entry, "data", list, where))
    if "data" in entry:
        msg = "input has both data and binary_data_size, expected one of them"
        raise InvalidInput(msg)
    return tensor_bytes.decode_raw(datatype, shape, raw, admit)


def _infer_response(
    prediction: Prediction, request_id: str, binary_names: Collection[str]
) -> tuple[dict[str, Any], list[bytes]]:
    """Return the JSON object of an answer, with arrays as data, and the binary data after it."""
    outputs = []
    contents = []
    for alias, array in prediction.outputs.items():
        output: dict[str, Any] = {
            "name": alias,
            "datatype": tensor_bytes.datatype_of(DataType.from_numpy(array.dtype)),
            "shape": array.shape,
        }
        if alias in binary_names:
            contents.append(tensor_bytes.encode_raw(array))
            output["parameters"] = {"binary_data_size": len(contents[-1])}
        else:
            output["data"] = array
        outputs.append(output)
    body: dict[str, Any] = {
        "model_name": prediction.servable.name,
        "model_version": str(prediction.servable.version),
        "outputs": outputs,
    }
    if request_id:
        body["id"] = request_id
    return body, contents
