"""The APIs by the name that --transport gives them, and what sends their requests."""

from collections.abc import Awaitable, Callable

from loadtest.report_schema import Transport
from loadtest.transports import kserve_grpc, tfs_grpc, tfs_rest
from loadtest.transports.api import Api
from loadtest.transports.grpc_sender import GrpcSender
from loadtest.transports.http_sender import HttpSender
from loadtest.transports.sender import Sender

# Asks the server what a model takes: target, model, version, batch=..., timeout_seconds=...
DISCOVERIES: dict[Transport, Callable[..., Awaitable[Api]]] = {
    "tfs-grpc": tfs_grpc.discover,
    "tfs-rest": tfs_rest.discover,
    "kserve-grpc": kserve_grpc.discover,
}


def make_sender(
    transport: Transport,
    target: str,
    api: Api,
    *,
    connections: int,
    timeout_seconds: float,
    server_timing: bool,
) -> Sender:
    """Connections for an API, to be made in the event loop that uses them; see the senders."""
    if transport == "tfs-rest":
        return HttpSender(
            target, api.path, timeout_seconds=timeout_seconds, server_timing=server_timing
        )
    return GrpcSender(
        target,
        api.path,
        connections=connections,
        timeout_seconds=timeout_seconds,
        server_timing=server_timing,
    )
