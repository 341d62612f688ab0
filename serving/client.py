"""A client for TensorFlow Serving's gRPC API that needs no TensorFlow: NumPy in, NumPy out.

    >>> with PredictClient("localhost:8500") as client:
    ...     answer = client.predict("simcnn", {"images": images})
    >>> answer["classes"]
    array([3, 8, 8, 0])

The client works with this server and with TensorFlow Serving.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
import numpy as np
from grpc_health.v1 import health_pb2

from serving.client_messages import (
    CLASSIFY_SIGNATURE,
    classify_request,
    metadata_request,
    predict_request,
    ranked_classes,
    response_arrays,
    signature_defs,
    status_request,
)
from serving.connection.credentials import call_metadata, tls_credentials
from serving.connection.first_answer import FirstAnswer
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationResponse,
    GetModelMetadataResponse,
    GetModelStatusResponse,
    ModelVersionStatus,
    PredictResponse,
    SignatureDefMap,
)

__all__ = [
    "AsyncPredictClient",
    "PredictClient",
    "PredictError",
    "call_metadata",
    "predict_request",
    "response_arrays",
    "tls_credentials",
]

DEFAULT_TIMEOUT_SECONDS = 30.0
PREDICT_PATH = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY_PATH = "/tensorflow.serving.PredictionService/Classify"
GET_MODEL_METADATA_PATH = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS_PATH = "/tensorflow.serving.ModelService/GetModelStatus"
HEALTH_CHECK_PATH = "/grpc.health.v1.Health/Check"
# No limits: the server limits the size of requests, and the caller asked for the response.
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


class PredictError(Exception):
    """A call that the server refused, or that did not reach the server.

    Attributes:
        code: gRPC status, for example `grpc.StatusCode.INVALID_ARGUMENT`.
        message: Error message, from the server or from gRPC.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[Self], tuple[grpc.StatusCode, str]]:
        """Let the error be pickled: a process pool that cannot read an error waits for ever."""
        return type(self), (self.code, self.message)


class PredictClient:
    """Blocking client with one connection; threads may share it."""

    def __init__(
        self,
        target: str = "localhost:8500",
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        credentials: grpc.ChannelCredentials | None = None,
        api_key: str | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Create a client; the first call opens the connection.

        Args:
            target: `host:port`, or `unix:path`.
            timeout: Default timeout of a call, in seconds.
            credentials: TLS credentials, for example `tls_credentials("ca.pem")`; None for plain
                text, which shows the API key to the network.
            api_key: Key of a server or gateway that demands one; sent with each call as
                `authorization: Bearer KEY`.
            metadata: Further metadata of each call, as names and values.
            options: gRPC channel options, for example `[("grpc.enable_http_proxy", 0)]`.

        Raises:
            ValueError: the key or the metadata cannot be sent.
        """
        self._call_metadata = call_metadata(api_key, metadata)
        options = [*CHANNEL_OPTIONS, *options]
        self._timeout = timeout
        self._channel = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        self._first = FirstAnswer(target, tls=credentials is not None)
        calls = _calls(self._channel)
        self._predict = calls["predict"]
        self._classify = calls["classify"]
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
        """Run a model.

        Args:
            model: Model name.
            inputs: Arrays by input name; the first dimension is the batch.
            version: Version number; None for the latest version.
            version_label: Version label such as `stable`; excludes `version`.
            signature_name: Signature name; empty for `serving_default`.
            outputs: Names of the outputs to return; empty for all outputs.
            timeout: Timeout of this call, in seconds; None for the client's default.

        Returns:
            Arrays by output name. The bundled classifiers return `classes`, int64, shape (batch,),
            and `probabilities`, float32, shape (batch, 10).

        Raises:
            PredictError: the server refused the call or could not be reached in time.
            TypeError: `inputs` are no mapping.
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

    def classify(
        self,
        model: str,
        images: Sequence[bytes],
        *,
        version: int | None = None,
        version_label: str | None = None,
        signature_name: str = CLASSIFY_SIGNATURE,
        timeout: float | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Name the classes of image files.

        Args:
            model: Name of a model with a signature for images, as the bundled ones have.
            images: Contents of PNG or JPEG files, of any size; the server scales them.
            version: Version number; None for the latest version.
            version_label: Version label; excludes `version`.
            signature_name: Name of the signature for images.
            timeout: Timeout of this call in seconds; None for the client's timeout.

        Returns:
            For each image, (class name, score) pairs of all classes, highest score first. The
            scores of the bundled classifiers are probabilities.

        Raises:
            PredictError: the server refused the call or could not be reached in time.
            ValueError: version and label are both given.
        """
        request = classify_request(
            model,
            images,
            version=version,
            version_label=version_label,
            signature_name=signature_name,
        )
        return ranked_classes(self._call(self._classify, request, timeout))

    def signatures(
        self, model: str, *, version: int | None = None, version_label: str | None = None
    ) -> SignatureDefMap:
        """Return the inputs and outputs of each signature of a model, as a SignatureDefMap.

        Arguments and errors as for `predict`.
        """
        request = metadata_request(model, version, version_label)
        return signature_defs(self._call(self._metadata, request, None))

    def statuses(self, model: str) -> list[ModelVersionStatus]:
        """Return the state of each version of a model, newest version first.

        Raises:
            PredictError: see `predict`.
        """
        response: GetModelStatusResponse = self._call(self._status, status_request(model), None)
        return list(response.model_version_status)

    def is_serving(self, service: str = "", *, timeout: float | None = None) -> bool:
        """Return whether grpc.health.v1 reports SERVING.

        Args:
            service: Model or service name; empty for the whole server.
            timeout: Timeout of this call, in seconds; None for the client's default.

        Raises:
            PredictError: see `predict`.
        """
        request = health_pb2.HealthCheckRequest(service=service)
        response = self._call(self._health, request, timeout)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def _call(self, call: Any, request: Any, timeout: float | None) -> Any:  # noqa: ANN401
        if not self._first.was_received:
            call = partial(self._first.wait, call)
        seconds = self._timeout if timeout is None else timeout
        try:
            return call(request, timeout=seconds, metadata=self._call_metadata)
        except grpc.RpcError as error:
            raise PredictError(error.code(), error.details() or "") from error


class AsyncPredictClient:
    """The client for asyncio. Create it in the event loop that uses it."""

    def __init__(
        self,
        target: str = "localhost:8500",
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        credentials: grpc.ChannelCredentials | None = None,
        api_key: str | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Create a client; arguments as for `PredictClient`."""
        self._call_metadata = call_metadata(api_key, metadata)
        options = [*CHANNEL_OPTIONS, *options]
        self._timeout = timeout
        self._channel = (
            grpc.aio.insecure_channel(target, options)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options)
        )
        self._first = FirstAnswer(target, tls=credentials is not None)
        calls = _calls(self._channel)
        self._predict = calls["predict"]
        self._classify = calls["classify"]
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
        """Run a model; see `PredictClient.predict`."""
        request = predict_request(
            model,
            inputs,
            version=version,
            version_label=version_label,
            signature_name=signature_name,
            outputs=outputs,
        )
        return response_arrays(await self._call(self._predict, request, timeout))

    async def classify(
        self,
        model: str,
        images: Sequence[bytes],
        *,
        version: int | None = None,
        version_label: str | None = None,
        signature_name: str = CLASSIFY_SIGNATURE,
        timeout: float | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Name the classes of image files; see `PredictClient.classify`."""
        request = classify_request(
            model,
            images,
            version=version,
            version_label=version_label,
            signature_name=signature_name,
        )
        return ranked_classes(await self._call(self._classify, request, timeout))

    async def signatures(
        self, model: str, *, version: int | None = None, version_label: str | None = None
    ) -> SignatureDefMap:
        """Return a model's signatures; see `PredictClient.signatures`."""
        request = metadata_request(model, version, version_label)
        return signature_defs(await self._call(self._metadata, request, None))

    async def statuses(self, model: str) -> list[ModelVersionStatus]:
        """Return the state of each version of a model; see `PredictClient.statuses`."""
        response: GetModelStatusResponse = await self._call(
            self._status, status_request(model), None
        )
        return list(response.model_version_status)

    async def is_serving(self, service: str = "", *, timeout: float | None = None) -> bool:
        """Return whether the server reports SERVING; see `PredictClient.is_serving`."""
        request = health_pb2.HealthCheckRequest(service=service)
        response = await self._call(self._health, request, timeout)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    async def _call(self, call: Any, request: Any, timeout: float | None) -> Any:  # noqa: ANN401
        if not self._first.was_received:
            call = partial(self._first.wait_async, call)
        seconds = self._timeout if timeout is None else timeout
        try:
            return await call(request, timeout=seconds, metadata=self._call_metadata)
        except grpc.RpcError as error:
            raise PredictError(error.code(), error.details() or "") from error


def _calls(channel: Any) -> dict[str, Any]:  # noqa: ANN401 - a channel of either kind
    """Return the callables of the API by name, for a blocking or an asyncio channel."""
    responses = {
        "predict": (PREDICT_PATH, PredictResponse),
        "classify": (CLASSIFY_PATH, ClassificationResponse),
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
