"""A client for TensorFlow Serving's gRPC API without TensorFlow: NumPy in, NumPy out.

    >>> with PredictClient("localhost:8500") as client:
    ...     answer = client.predict("simcnn", {"images": images})
    >>> answer["classes"]
    array([3, 8, 8, 0])

It speaks to this server and to TensorFlow Serving itself.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
import numpy as np
from grpc_health.v1 import health_pb2

from serving.errors import InvalidInput
from serving.protocols.tfs import tensor_proto
from serving.protos.tensorflow_serving_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelSpec,
    ModelVersionStatus,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)

DEFAULT_TIMEOUT_SECONDS = 30.0
PREDICT_PATH = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA_PATH = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS_PATH = "/tensorflow.serving.ModelService/GetModelStatus"
HEALTH_CHECK_PATH = "/grpc.health.v1.Health/Check"
# Responses of any size: the server limits what it is sent, the caller asked for what comes back.
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


class PredictError(Exception):
    """A call that the server refused, or that did not reach it.

    Attributes:
        code: gRPC status, for example `grpc.StatusCode.INVALID_ARGUMENT`.
        message: The server's words.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


def predict_request(
    model: str,
    inputs: Mapping[str, np.ndarray],
    *,
    version: int | None = None,
    version_label: str | None = None,
    signature_name: str = "",
    outputs: Sequence[str] = (),
) -> PredictRequest:
    """The message of a Predict call; tensors travel as `tensor_content`, the fast form.

    Args:
        model: Model name.
        inputs: Arrays by input name; the first dimension is the batch.
        version: Version number; None for the latest.
        version_label: A label such as `stable` instead of a version.
        signature_name: Empty for `serving_default`.
        outputs: Names of the outputs wanted; empty for all.

    Raises:
        ValueError: an array's dtype has no tensor type, or version and label are both given.
    """
    if version is not None and version_label is not None:
        msg = f"version {version} and version_label {version_label!r} given, expected one of them"
        raise ValueError(msg)
    request = PredictRequest(
        model_spec=_model_spec(model, version, version_label, signature_name),
        output_filter=outputs,
    )
    for name, array in inputs.items():
        try:
            tensor_proto.encode(np.asarray(array), request.inputs[name], as_content=True)
        except InvalidInput as error:
            msg = f'input "{name}": {error.message}'
            raise ValueError(msg) from error
    return request


def response_arrays(response: PredictResponse) -> dict[str, np.ndarray]:
    """The outputs of a Predict response by name."""
    return {name: tensor_proto.decode(tensor) for name, tensor in response.outputs.items()}


class PredictClient:
    """Blocking client; one connection, safe to share between threads."""

    def __init__(
        self,
        target: str = "localhost:8500",
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Prepare a connection; it is made with the first call.

        Args:
            target: `host:port`, or `unix:path`.
            timeout: Seconds that a call may take, unless it says otherwise.
            credentials: TLS credentials; None for plain text.
            options: gRPC channel options, for example `[("grpc.enable_http_proxy", 0)]`.
        """
        options = [*CHANNEL_OPTIONS, *options]
        self._timeout = timeout
        self._channel = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        calls = _calls(self._channel)
        self._predict = calls["predict"]
        self._metadata = calls["metadata"]
        self._status = calls["status"]
        self._health = calls["health"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def predict(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray],
        *,
        version: int | None = None,
        version_label: str | None = None,
        signature_name: str = "",
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Run a model; arguments as in `predict_request`.

        Args:
            model: Model name.
            inputs: Arrays by input name; the first dimension is the batch.
            version: Version number; None for the latest.
            version_label: A label instead of a version.
            signature_name: Empty for `serving_default`.
            outputs: Names of the outputs wanted; empty for all.
            timeout: Seconds that this call may take; None for the client's.

        Returns:
            Arrays by output name. The bundled classifiers answer `classes` int64 (batch,) and
            `probabilities` float32 (batch, 10).

        Raises:
            PredictError: the server refused the call or could not be reached in time.
            ValueError: the arguments contradict each other or cannot be sent.
        """
        request = predict_request(
            model,
            inputs,
            version=version,
            version_label=version_label,
            signature_name=signature_name,
            outputs=outputs,
        )
        return response_arrays(self._call(self._predict, request, timeout))

    def signatures(self, model: str, *, version: int | None = None) -> SignatureDefMap:
        """What a model takes and gives, as TensorFlow Serving's SignatureDefMap.

        Raises:
            PredictError: see `predict`.
        """
        return _signature_defs(self._call(self._metadata, _metadata_request(model, version), None))

    def statuses(self, model: str) -> list[ModelVersionStatus]:
        """The state of each version of a model, newest first.

        Raises:
            PredictError: see `predict`.
        """
        response: GetModelStatusResponse = self._call(self._status, _status_request(model), None)
        return list(response.model_version_status)

    def is_serving(self, service: str = "", *, timeout: float | None = None) -> bool:
        """Whether grpc.health.v1 says SERVING for the whole server, or for one model's name.

        Raises:
            PredictError: see `predict`.
        """
        request = health_pb2.HealthCheckRequest(service=service)
        return _serving(self._call(self._health, request, timeout))

    def _call(self, call: Any, request: Any, timeout: float | None) -> Any:  # noqa: ANN401
        try:
            return call(request, timeout=self._timeout if timeout is None else timeout)
        except grpc.RpcError as error:
            raise PredictError(error.code(), error.details() or "") from error


class AsyncPredictClient:
    """The same client for asyncio. Make it inside the event loop that uses it."""

    def __init__(
        self,
        target: str = "localhost:8500",
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Prepare a connection; arguments as for `PredictClient`."""
        options = [*CHANNEL_OPTIONS, *options]
        self._timeout = timeout
        self._channel = (
            grpc.aio.insecure_channel(target, options)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options)
        )
        calls = _calls(self._channel)
        self._predict = calls["predict"]
        self._metadata = calls["metadata"]
        self._status = calls["status"]
        self._health = calls["health"]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def predict(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray],
        *,
        version: int | None = None,
        version_label: str | None = None,
        signature_name: str = "",
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Run a model; everything as in `PredictClient.predict`."""
        request = predict_request(
            model,
            inputs,
            version=version,
            version_label=version_label,
            signature_name=signature_name,
            outputs=outputs,
        )
        return response_arrays(await self._call(self._predict, request, timeout))

    async def signatures(self, model: str, *, version: int | None = None) -> SignatureDefMap:
        """What a model takes and gives; see `PredictClient.signatures`."""
        request = _metadata_request(model, version)
        return _signature_defs(await self._call(self._metadata, request, None))

    async def statuses(self, model: str) -> list[ModelVersionStatus]:
        """The state of each version of a model; see `PredictClient.statuses`."""
        response: GetModelStatusResponse = await self._call(
            self._status, _status_request(model), None
        )
        return list(response.model_version_status)

    async def is_serving(self, service: str = "", *, timeout: float | None = None) -> bool:
        """Whether the server says SERVING; see `PredictClient.is_serving`."""
        request = health_pb2.HealthCheckRequest(service=service)
        return _serving(await self._call(self._health, request, timeout))

    async def _call(self, call: Any, request: Any, timeout: float | None) -> Any:  # noqa: ANN401
        try:
            return await call(request, timeout=self._timeout if timeout is None else timeout)
        except grpc.aio.AioRpcError as error:
            raise PredictError(error.code(), error.details() or "") from error


def _calls(channel: Any) -> dict[str, Any]:  # noqa: ANN401 - a channel of either kind
    """The calls of the API on a channel; both kinds of channel build them alike."""
    responses = {
        "predict": (PREDICT_PATH, PredictResponse),
        "metadata": (GET_MODEL_METADATA_PATH, GetModelMetadataResponse),
        "status": (GET_MODEL_STATUS_PATH, GetModelStatusResponse),
        "health": (HEALTH_CHECK_PATH, health_pb2.HealthCheckResponse),
    }
    return {
        name: channel.unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        for name, (path, response) in responses.items()
    }


def _model_spec(
    name: str, version: int | None, version_label: str | None = None, signature_name: str = ""
) -> ModelSpec:
    spec = ModelSpec(name=name, signature_name=signature_name)
    if version is not None:
        spec.version.value = version
    if version_label is not None:
        spec.version_label = version_label
    return spec


def _metadata_request(model: str, version: int | None) -> GetModelMetadataRequest:
    return GetModelMetadataRequest(
        model_spec=_model_spec(model, version), metadata_field=["signature_def"]
    )


def _status_request(model: str) -> GetModelStatusRequest:
    return GetModelStatusRequest(model_spec=_model_spec(model, None))


def _signature_defs(response: GetModelMetadataResponse) -> SignatureDefMap:
    signatures = SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    return signatures


def _serving(response: health_pb2.HealthCheckResponse) -> bool:
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)
