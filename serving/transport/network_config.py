"""Network settings: addresses, limits and drain time, for the modules that open ports."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.transport.limits.holders import Network

LogFormat = Literal["text", "json"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The addresses that the server listens on, and the limits on connections and requests.

    Attributes:
        host: Address to listen on.
        port: gRPC port; 0 picks a free one.
        rest_api_port: REST port; 0 if REST has no separate port.
        health_port: Port for health checks only, in plain text; 0 picks a free one, None: no port.
        grpc_socket_path: Unix socket to listen on in addition to the port.
        is_shared: Whether further processes listen on the same ports.
        grpc_channel_arguments: `key=value,...` for grpcio.
        max_message_bytes: Size limit of a request; larger requests are refused.
        max_buffered_bytes: Limit on the bytes of large requests in flight, all callers together.
        max_connections: Most connections of one process at a time.
        idle_connection_seconds: A connection without a request for so long is closed; 0: never.
        trusted_proxies: Addresses that may hold any number of connections.
        drain_seconds: Time that calls in flight get when the server stops (seconds).
        log_format: Format of the web server's own log lines.
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
