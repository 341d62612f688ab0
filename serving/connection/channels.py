"""The connection of a client: its channel, and a callable for each method of the API."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from serving.connection import retries as retry
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationResponse,
    GetModelMetadataResponse,
    GetModelStatusResponse,
    PredictResponse,
)

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
_RESPONSES: dict[str, Any] = {
    PREDICT_PATH: PredictResponse,
    CLASSIFY_PATH: ClassificationResponse,
    GET_MODEL_METADATA_PATH: GetModelMetadataResponse,
    GET_MODEL_STATUS_PATH: GetModelStatusResponse,
    HEALTH_CHECK_PATH: health_pb2.HealthCheckResponse,
}


def open_channel(
    library: ModuleType,
    target: str,
    *,
    credentials: grpc.ChannelCredentials | None,
    retries: int | retry.RetryPolicy,
    compression: grpc.Compression | None,
    options: Sequence[tuple[str, Any]],
) -> Any:  # noqa: ANN401 - a channel of either kind
    """Return a channel; its first call opens the connection.

    Args:
        library: `grpc` for a blocking channel, `grpc.aio` for an asyncio channel.
        target: As for `PredictClient`, and so are the other arguments.
        credentials: TLS credentials; None for plain text.
        retries: Retries, or their policy.
        compression: Compression of the requests.
        options: Further channel options.

    Raises:
        ValueError: the retries are not possible, or contradict the options.
    """
    own = [*CHANNEL_OPTIONS, *retry.channel_options(retries, options), *options]
    if credentials is None:
        return library.insecure_channel(target, own, compression)
    return library.secure_channel(target, credentials, own, compression)


def callables(channel: Any) -> dict[str, Any]:  # noqa: ANN401 - a channel of either kind
    """Return the callables of the API by path, for a blocking or an asyncio channel."""
    return {
        path: channel.unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        for path, response in _RESPONSES.items()
    }
