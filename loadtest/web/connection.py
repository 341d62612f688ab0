"""A Locust user's connection: a blocking Predict call that gevent can wait for."""

import grpc

from serving.client import CHANNEL_OPTIONS, PREDICT_PATH


class CallError(Exception):
    """A call without an answer.

    Attributes:
        kind: gRPC status name.
        message: The server's own words.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class PredictionClient:
    """Sends ready-made requests over a connection of its own."""

    def __init__(self, target: str, *, timeout_seconds: float) -> None:
        """Prepare a connection; the first request opens it.

        Args:
            target: `host:port`.
            timeout_seconds: Deadline of each request.
        """
        # Channels with equal arguments share one connection, and then users would queue behind
        # each other in the client: a pool of its own gives each user its own connection.
        options = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))
        self._channel = grpc.insecure_channel(target, options)
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
            CallError: There is none.
        """
        try:
            return self._predict(body, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            raise CallError(error.code().name, error.details() or "") from error
