"""Network settings: addresses, limits and drain time, for whatever opens a port."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LogFormat = Literal["text", "json"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Where the server listens, and what it bears with.

    Attributes:
        host: Address to listen on.
        port: gRPC port; 0 picks a free one.
        rest_api_port: REST port; 0 for none of its own.
        grpc_socket_path: Unix socket to listen on beside the port.
        is_shared: Further processes listen on the same ports.
        grpc_channel_arguments: `key=value,...` for grpcio.
        max_message_bytes: Larger requests are refused.
        max_buffered_bytes: Bytes of large requests under way, all callers together.
        drain_seconds: Time that calls in flight get when the server stops (seconds).
        log_format: Of the lines that the web server itself writes.
    """

    host: str
    port: int
    rest_api_port: int = 0
    grpc_socket_path: Path | None = None
    is_shared: bool = False
    grpc_channel_arguments: str = ""
    max_message_bytes: int
    max_buffered_bytes: int
    drain_seconds: float
    log_format: LogFormat = "text"
