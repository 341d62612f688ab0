"""Requests over gRPC: grpc.aio with bodies that are already serialised."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from loadtest.transports.sender import (
    TIMING_REQUEST_HEADER,
    TIMING_RESPONSE_HEADER,
    Lane,
    TimedResponse,
)
from serving.client import CHANNEL_OPTIONS

# Channels with equal arguments share a connection; a local subchannel pool gives each its own.
OWN_CONNECTION_OPTIONS = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))


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
        server_timing: bool = False,
    ) -> None:
        """Prepare connections; the first request on each opens it.

        Args:
            target: `host:port`.
            path: `/package.Service/Method`.
            connections: Number of connections.
            timeout_seconds: Deadline of a request.
            server_timing: Ask the server for its own timings; lanes then return a TimedResponse.
        """
        self._channels = [
            grpc.aio.insecure_channel(target, OWN_CONNECTION_OPTIONS) for _ in range(connections)
        ]
        make = _timed_lane if server_timing else _plain_lane
        self._lanes = [make(channel, path, timeout_seconds) for channel in self._channels]

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


def method(channel: grpc.aio.Channel, path: str) -> Any:  # noqa: ANN401 - bytes in, bytes out
    """Return a callable for a unary method that takes and returns serialised messages."""
    return channel.unary_unary(path, request_serializer=None, response_deserializer=None)


def _plain_lane(channel: grpc.aio.Channel, path: str, timeout: float) -> Lane:
    call: Callable[..., Awaitable[bytes]] = method(channel, path)

    def send(body: bytes) -> Awaitable[bytes]:
        return call(body, timeout=timeout)

    return send


def _timed_lane(channel: grpc.aio.Channel, path: str, timeout: float) -> Lane:
    call = method(channel, path)
    metadata = ((TIMING_REQUEST_HEADER, "1"),)

    async def send(body: bytes) -> TimedResponse:
        pending = call(body, timeout=timeout, metadata=metadata)
        response = await pending
        trailers = dict(await pending.trailing_metadata())
        return TimedResponse(response, str(trailers.get(TIMING_RESPONSE_HEADER, "")))

    return send
