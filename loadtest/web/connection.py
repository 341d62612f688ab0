"""A Locust user's connection: a Predict call that blocks its greenlet only."""

import grpc

from loadtest.settings.config import PLAIN, ConnectionConfig
from loadtest.transports.api import CallError
from loadtest.transports.grpc_sender import (
    COMPRESSIONS,
    OWN_CONNECTION_OPTIONS,
    channel_credentials,
)
from serving.client import PREDICT_PATH


class PredictionClient:
    """A gRPC connection that sends serialised requests and is not shared."""

    def __init__(
        self, target: str, *, timeout_seconds: float, connection: ConnectionConfig = PLAIN
    ) -> None:
        """Prepare a connection; the first request opens it.

        Args:
            target: `host:port`.
            timeout_seconds: Deadline of each request.
            connection: TLS, metadata and compression.
        """
        # If users shared a connection, their requests would queue in the client.
        credentials = channel_credentials(connection)
        compression = COMPRESSIONS[connection.compression]
        self._channel = (
            grpc.insecure_channel(target, OWN_CONNECTION_OPTIONS, compression)
            if credentials is None
            else grpc.secure_channel(target, credentials, OWN_CONNECTION_OPTIONS, compression)
        )
        self._metadata = connection.headers or None
        self._predict: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            PREDICT_PATH, request_serializer=None, response_deserializer=None
        )
        self._timeout_seconds = timeout_seconds

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def send(self, body: bytes) -> bytes:
        """Send a serialised PredictRequest and wait for the serialised answer.

        Raises:
            CallError: The call failed.
        """
        try:
            return self._predict(body, timeout=self._timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise CallError(error.code().name, error.details() or "") from error
