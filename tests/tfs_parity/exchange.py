"""Send a pair's request to a server over real sockets and compare the answer."""

import http.client
import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
from google.protobuf import text_format
from google.protobuf.message import Message
from tfs_parity.pair import HTTP_STATUS, Answer, Grpc, Ok, Pair, Refused, Request, Rest, Status

from serving.protos import tensorflow_serving_pb2 as messages
from serving.protos.pool import POOL

TIMEOUT_SECONDS = 30
EVENTUALLY_SECONDS = 15
JSON = "application/json"
MODEL_SERVICE = "/tensorflow.serving.ModelService"
PREDICTION_SERVICE = "/tensorflow.serving.PredictionService"
METHODS: dict[str, tuple[str, type[Message], type[Message]]] = {
    "Predict": (PREDICTION_SERVICE, messages.PredictRequest, messages.PredictResponse),
    "Classify": (
        PREDICTION_SERVICE,
        messages.ClassificationRequest,
        messages.ClassificationResponse,
    ),
    "Regress": (PREDICTION_SERVICE, messages.RegressionRequest, messages.RegressionResponse),
    "MultiInference": (
        PREDICTION_SERVICE,
        messages.MultiInferenceRequest,
        messages.MultiInferenceResponse,
    ),
    "GetModelMetadata": (
        PREDICTION_SERVICE,
        messages.GetModelMetadataRequest,
        messages.GetModelMetadataResponse,
    ),
    "GetModelStatus": (
        MODEL_SERVICE,
        messages.GetModelStatusRequest,
        messages.GetModelStatusResponse,
    ),
    "HandleReloadConfigRequest": (
        MODEL_SERVICE,
        messages.ReloadConfigRequest,
        messages.ReloadConfigResponse,
    ),
}


class Received(NamedTuple):
    """An answer of the server.

    Attributes:
        code: The gRPC code's name, or the HTTP status.
        message: The error's text; empty without an error.
        content: JSON document, or the message in canonical text; None after an error.
        content_type: The Content-Type header of a REST answer.
    """

    code: str | int
    message: str = ""
    content: Any = None
    content_type: str | None = None


class Peer:
    """A client of one server, over gRPC and REST."""

    def __init__(self, address: str, models: Path) -> None:
        self._address = address
        self._models = models
        self._channel = grpc.insecure_channel(address)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def ask(self, request: Request) -> Received:
        """Send a request and return the answer."""
        return self._rest(request) if isinstance(request, Rest) else self._grpc(request)

    def _rest(self, request: Rest) -> Received:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_SECONDS)
        try:
            body = request.body.encode("utf-8", "surrogateescape")
            connection.request(request.method, request.path, body or None, dict(request.headers))
            response = connection.getresponse()
            status, content = response.status, response.read()
            content_type = response.getheader("Content-Type")
        finally:
            connection.close()
        document = _document(content)
        message = document.get("error") if isinstance(document, dict) else None
        if isinstance(message, str):
            return Received(status, message, content_type=content_type)
        return Received(status, content=document, content_type=content_type)

    def _grpc(self, request: Grpc) -> Received:
        service, request_type, response_type = METHODS[request.method]
        message = request_type()
        text = request.message.replace("{models}", str(self._models))
        text_format.Parse(text, message, descriptor_pool=POOL)
        try:
            body = self._channel.unary_unary(f"{service}/{request.method}")(
                message.SerializeToString(), timeout=TIMEOUT_SECONDS
            )
        except grpc.RpcError as error:
            return Received(error.code().name, error.details())
        return Received("OK", content=canonical(response_type.FromString(body)))


def mistakes(pair: Pair, peer: Peer) -> list[str]:
    """Return what is wrong with the answer to a pair's request; an empty list if it is right."""
    for request in pair.before:
        received = peer.ask(request)
        if received.code not in ("OK", 200):
            return [f"before: {request} was answered {received}"]
    if pair.refused_before and peer.ask(pair.refused_before).code in ("OK", 200):
        return [f"before: {pair.refused_before} was not refused"]
    expected = pair.deviation.answer if pair.deviation else pair.answer
    give_up_at = time.monotonic() + (EVENTUALLY_SECONDS if pair.eventually else 0)
    while True:
        received = peer.ask(pair.request)
        found = _differences(pair.request, received, expected)
        if not found or time.monotonic() >= give_up_at:
            return found
        time.sleep(0.05)


def canonical(message: Message) -> str:
    """Return a message as text that is the same for equal messages, whatever a map's order."""
    return text_format.MessageToString(message, descriptor_pool=POOL)


def _differences(request: Request, received: Received, expected: Answer) -> list[str]:
    if isinstance(expected, Status):
        return _unequal("status", received.code, expected.status)
    code = "OK" if isinstance(expected, Ok) else expected.code
    wanted = HTTP_STATUS[code] if isinstance(request, Rest) else code
    found = _unequal("code", received.code, wanted)
    if isinstance(request, Rest):
        found += _unequal("content type", received.content_type, JSON)
    if isinstance(expected, Refused):
        if not received.message.startswith(expected.begins):
            found.append(f"message {received.message!r} does not begin {expected.begins!r}")
        if expected.has not in received.message:
            found.append(f"message {received.message!r} does not have {expected.has!r}")
        return found
    if found:
        return [*found, f"message: {received.message!r}"]
    if isinstance(request, Grpc):
        message = METHODS[request.method][2]()
        text_format.Parse(expected.content, message, descriptor_pool=POOL)
        return _unequal("message", received.content, canonical(message))
    if same(received.content, expected.content, single=expected.single):
        return []
    return [f"answer {received.content!r}, expected {expected.content!r}"]


def _unequal(what: str, received: object, expected: object) -> list[str]:
    return [] if received == expected else [f"{what} {received!r}, expected {expected!r}"]


def same(received: object, expected: object, *, single: bool) -> bool:
    """Return whether two JSON documents are the same, number types included."""
    if type(received) is not type(expected):
        return False
    if isinstance(received, float) and isinstance(expected, float):
        return _same_number(received, expected, single=single)
    if isinstance(received, list) and isinstance(expected, list):
        return len(received) == len(expected) and all(
            same(one, other, single=single) for one, other in zip(received, expected, strict=True)
        )
    if isinstance(received, dict) and isinstance(expected, dict):
        return received.keys() == expected.keys() and all(
            same(received[key], expected[key], single=single) for key in expected
        )
    return received == expected


def _same_number(received: float, expected: float, *, single: bool) -> bool:
    if math.isnan(expected):
        return math.isnan(received)
    if single:
        return bool(np.float32(received) == np.float32(expected))
    return received == expected and math.copysign(1, received) == math.copysign(1, expected)


def _document(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8", "surrogateescape"))
    except ValueError:
        return None
