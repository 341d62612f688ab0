"""The APIs and senders by their --transport name."""

from collections.abc import Awaitable, Callable
from functools import partial

from loadtest.report_schema import Transport
from loadtest.settings.config import PLAIN, ConnectionConfig
from loadtest.transports import kserve_grpc, kserve_rest, tfs_grpc, tfs_rest
from loadtest.transports.api import Api
from loadtest.transports.grpc_sender import GrpcSender
from loadtest.transports.http_sender import HttpSender, compressed
from loadtest.transports.sender import Sender

# Functions that ask the server for a model's input and return the API. Arguments: target, model,
# version, batch=..., timeout_seconds=..., connection=...; those of TensorFlow Serving's APIs also
# take version_label=...
DISCOVERIES: dict[Transport, Callable[..., Awaitable[Api]]] = {
    "tfs-grpc": tfs_grpc.discover,
    "tfs-rest": tfs_rest.discover,
    "kserve-grpc": kserve_grpc.discover,
    "kserve-rest": kserve_rest.discover,
    "kserve-rest-binary": partial(kserve_rest.discover, kind=kserve_rest.KserveRestBinary),
}


def is_rest(transport: Transport) -> bool:
    """Return whether a transport is HTTP with JSON, and not gRPC."""
    return "rest" in transport


def encode(transport: Transport, body: bytes, connection: ConnectionConfig) -> bytes:
    """Return a request body as a sender takes it: compressed over REST, if the connection says so.

    Over gRPC the sender's library compresses a message when it is sent.
    """
    return compressed(body, connection) if is_rest(transport) else body


def make_sender(
    transport: Transport,
    target: str,
    api: Api,
    *,
    connections: int,
    timeout_seconds: float,
    connection: ConnectionConfig = PLAIN,
    server_timing: bool,
) -> Sender:
    """Return the sender of a transport; call this in the event loop that will use it.

    Args:
        transport: Name of the transport.
        target: `host:port`.
        api: The API whose requests are sent.
        connections: Number of gRPC connections; HTTP opens one for each request under way.
        timeout_seconds: Deadline of a request.
        connection: TLS, headers and compression.
        server_timing: Ask the server for its own timings; answers are then TimedResponses.
    """
    if is_rest(transport):
        return HttpSender(
            target,
            api.path,
            timeout_seconds=timeout_seconds,
            headers=api.headers,
            connection=connection,
            server_timing=server_timing,
        )
    return GrpcSender(
        target,
        api.path,
        connections=connections,
        timeout_seconds=timeout_seconds,
        connection=connection,
        server_timing=server_timing,
    )
