"""Network settings: addresses, limits and drain time, for whatever opens a port."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.transport.limits.holders import Network

LogFormat = Literal["text", "json"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Where the server listens, and what it bears with.

    Attributes:
        host: Address to listen on.
        port: gRPC port; 0 picks a free one.
        rest_api_port: REST port; 0 for none of its own.
        health_port: Port for health alone, plain text; 0 picks a free one, None is none.
        grpc_socket_path: Unix socket to listen on beside the port.
        is_shared: Further processes listen on the same ports.
        grpc_channel_arguments: `key=value,...` for grpcio.
        max_message_bytes: Larger requests are refused.
        max_buffered_bytes: Bytes of large requests under way, all callers together.
        max_connections: Connections of one process at a time.
        idle_connection_seconds: A connection without a request for so long is closed; 0: never.
        trusted_proxies: Addresses that may hold any number of connections.
        drain_seconds: Time that calls in flight get when the server stops (seconds).
        log_format: Of the lines that the web server itself writes.
    """

    host: str
    port: int
    rest_api_port: int = 0
    health_port: int | None = None
    grpc_socket_path: Path | None = None
    is_shared: bool = False
    grpc_channel_arguments: str = ""
    max_message_bytes: int
    max_buffered_bytes: int
    max_connections: int = 2048
    idle_connection_seconds: float = 300.0
    trusted_proxies: tuple[Network, ...] = ()
    drain_seconds: float
    log_format: LogFormat = "text"
