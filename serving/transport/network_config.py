"""Network settings: addresses, limits and drain time, for the modules that open ports."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.errors import ConfigError
from serving.transport.limits.holders import Network

LogFormat = Literal["text", "json"]
_UNIX = "unix:"
_MAX_PORT = 65_535


@dataclass(frozen=True, kw_only=True)
class AdminAddress:
    """An address: `path`, or `host` and `port`.

    Attributes:
        host: Loopback address; empty for a Unix socket.
        port: Port; 0 picks a free one.
        path: Path of a Unix socket; None for a port.
    """

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.path is None else f"{_UNIX}{self.path}"


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The addresses that the server listens on, and the limits on connections and requests.

    Attributes:
        host: Address to listen on.
        port: gRPC port; 0 picks a free one.
        rest_api_port: REST port; 0 if REST has no separate port.
        health_port: Port for health checks only, in plain text; 0 picks a free one, None: no port.
        admin_address: Where alone the methods of role admin are answered; None: on every port.
        grpc_socket_path: Unix socket to listen on in addition to the port.
        is_shared: Whether further processes listen on the same ports.
        grpc_channel_arguments: `key=value,...` for grpcio.
        max_message_bytes: Size limit of a request; larger requests are refused.
        max_buffered_bytes: Limit on the bytes of large requests in flight, all callers together.
        max_connections: Most connections of one process at a time.
        idle_connection_seconds: A connection without a request for so long is closed; 0: never.
        trusted_proxies: Addresses that may hold any number of connections, and whose
            `x-forwarded-for` is believed.
        drain_seconds: Time that calls in flight get when the server stops (seconds).
        log_format: Format of the web server's own log lines.
    """

    host: str
    port: int
    rest_api_port: int = 0
    health_port: int | None = None
    admin_address: AdminAddress | None = None
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


def admin_address(text: str) -> AdminAddress | None:
    """Parse the value of `--admin_address`; None if it is empty.

    Raises:
        ConfigError: it is neither `unix:/path` nor `host:port` of the loopback interface.
    """
    if not text:
        return None
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        if path:
            return AdminAddress(path=Path(path))
    host, _, port = text.rpartition(":")
    if is_loopback(host) and port.isascii() and port.isdigit() and int(port) <= _MAX_PORT:
        return AdminAddress(host=host.strip("[]"), port=int(port))
    msg = (
        f"--admin_address is {text!r}, expected unix:/path, or host:port with a host of the "
        "loopback interface, such as 127.0.0.1:8503"
    )
    raise ConfigError(msg)


def is_loopback(host: str) -> bool:
    """Return whether a host is of the loopback interface, which other machines cannot reach."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
