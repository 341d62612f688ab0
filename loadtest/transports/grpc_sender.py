"""Requests over gRPC: grpc.aio with bodies that are already serialised."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio

from loadtest.report_schema import Compression
from loadtest.settings.config import PLAIN, ConnectionConfig, Header
from loadtest.transports.sender import (
    TIMING_REQUEST_HEADER,
    TIMING_RESPONSE_HEADER,
    Lane,
    TimedResponse,
)
from serving.client import CHANNEL_OPTIONS, tls_credentials

# gRPC waits 1 s before the second attempt to connect, and up to 120 s before later ones, and fails
# every call meanwhile (doc/connection-backoff.md of gRPC). An outage of the server would seem
# longer than it was. An attempt itself may still take 20 s, because a server
# that is starting accepts it late.
_RECONNECT_MS = 100
RECONNECT_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MS),
    ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS),
)
# Channels with equal arguments share a connection; a local subchannel pool gives each its own.
OWN_CONNECTION_OPTIONS = (
    *CHANNEL_OPTIONS,
    *RECONNECT_OPTIONS,
    ("grpc.use_local_subchannel_pool", 1),
)
# grpcio takes no messages that are already compressed: it compresses each one when it is sent.
COMPRESSIONS: dict[Compression | None, grpc.Compression] = {
    None: grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


class GrpcSender:
    """Unary calls of one method over several connections."""

    failures: tuple[type[BaseException], ...] = (grpc.aio.AioRpcError,)

    def __init__(
        self,
        target: str,
        path: str,
        *,
        connections: int,
        timeout_seconds: float,
        connection: ConnectionConfig = PLAIN,
        server_timing: bool = False,
    ) -> None:
        """Prepare connections; the first request on each opens it.

        Args:
            target: `host:port`.
            path: `/package.Service/Method`.
            connections: Number of connections.
            timeout_seconds: Deadline of a request.
            connection: TLS, metadata and compression.
            server_timing: Ask the server for its own timings; lanes then return a TimedResponse.
        """
        self._channels = [
            open_channel(target, connection, OWN_CONNECTION_OPTIONS) for _ in range(connections)
        ]
        make = _timed_lane if server_timing else _plain_lane
        metadata = connection.headers
        self._lanes = [make(channel, path, timeout_seconds, metadata) for channel in self._channels]

    def lane(self, number: int) -> Lane:
        """See Sender."""
        return self._lanes[number % len(self._lanes)]

    def explain(self, error: BaseException) -> tuple[str, str]:
        """See Sender."""
        if isinstance(error, grpc.aio.AioRpcError):
            return error.code().name, error.details() or ""
        return "UNKNOWN", repr(error)

    async def close(self) -> None:
        """See Sender."""
        for channel in self._channels:
            await channel.close()


def open_channel(
    target: str,
    connection: ConnectionConfig,
    options: Sequence[tuple[str, Any]] = CHANNEL_OPTIONS,
) -> grpc.aio.Channel:
    """Return a channel to a server; its first call opens the connection."""
    credentials = channel_credentials(connection)
    compression = COMPRESSIONS[connection.compression]
    if credentials is None:
        return grpc.aio.insecure_channel(target, options, compression)
    return grpc.aio.secure_channel(target, credentials, options, compression)


def channel_credentials(connection: ConnectionConfig) -> grpc.ChannelCredentials | None:
    """Return the TLS credentials of a connection; None for plain text.

    Raises:
        OSError: a file cannot be read.
    """
    if not connection.tls:
        return None
    return tls_credentials(connection.ca, connection.cert, connection.key)


def method(channel: grpc.aio.Channel, path: str) -> Any:  # noqa: ANN401 - bytes in, bytes out
    """Return a callable for a unary method that takes and returns serialised messages."""
    return channel.unary_unary(path, request_serializer=None, response_deserializer=None)


def _plain_lane(
    channel: grpc.aio.Channel, path: str, timeout: float, metadata: Sequence[Header]
) -> Lane:
    call: Callable[..., Awaitable[bytes]] = method(channel, path)
    sent = metadata or None

    def send(body: bytes) -> Awaitable[bytes]:
        return call(body, timeout=timeout, metadata=sent)

    return send


def _timed_lane(
    channel: grpc.aio.Channel, path: str, timeout: float, metadata: Sequence[Header]
) -> Lane:
    call = method(channel, path)
    sent = (*metadata, (TIMING_REQUEST_HEADER, "1"))

    async def send(body: bytes) -> TimedResponse:
        pending = call(body, timeout=timeout, metadata=sent)
        response = await pending
        trailers = dict(await pending.trailing_metadata())
        return TimedResponse(response, str(trailers.get(TIMING_RESPONSE_HEADER, "")))

    return send
