"""Listening sockets, opened here so that any front, or several processes, can use them."""

import errno
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import ConfigError
from serving.transport.network_config import NetworkConfig

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]

_BACKLOG = 1024


def listen(host: str, port: int, *, flag: str = "--port", shared: bool = False) -> socket.socket:
    """Take a TCP port and listen on it; arguments and errors as for `claim`."""
    listener = claim(host, port, flag=flag, shared=shared)
    _listen(listener, flag)
    return listener


def claim(host: str, port: int, *, flag: str = "--port", shared: bool = False) -> socket.socket:
    """Take a TCP port without listening yet: callers are refused until `Listeners.listen`.

    Args:
        host: Name or address; `::` takes IPv4 too.
        port: 0 picks a free one.
        flag: The setting that the port came from, for the message.
        shared: Let further sockets of this user listen on the same port; the kernel then spreads
            the connections over them.

    Raises:
        ConfigError: the address does not exist here or is taken.
    """
    try:
        claimed = bind(host, port, shared=shared)
    except OSError as error:
        address = f"{host}:{port}"
        raise cannot_listen(address, error.strerror or str(error), flag) from error
    claimed.setblocking(False)
    return claimed


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """The same without words; arguments as for `claim`.

    Raises:
        OSError: it cannot be had.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    try:
        # Alone first: two servers that both allow SO_REUSEADDR could take one port, and find out
        # when the second one listens, after minutes of loading.
        return _bind(found[0], reuse=False, shared=shared)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # What holds the port may be no more than the connections of a server that has ended.
        return _bind(found[0], reuse=True, shared=shared)


def _bind(found: AddressInfo, *, reuse: bool, shared: bool) -> socket.socket:
    family, kind, protocol, _, address = found
    taken = socket.socket(family, kind, protocol)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        if family == socket.AF_INET6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if shared:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(address)
    except OSError:
        taken.close()
        raise
    return taken


def _listen(claimed: socket.socket, flag: str) -> None:
    """Listen on a port that was claimed.

    Raises:
        ConfigError: another server listens there by now.
    """
    host, port, *_ = claimed.getsockname()
    try:
        # Its connections inherit this: what lingers of them must not keep the next server out.
        claimed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        claimed.listen(_BACKLOG)
    except OSError as error:
        claimed.close()
        address = f"{host}:{port}"
        raise cannot_listen(address, error.strerror or str(error), flag) from error


def cannot_listen(address: str, reason: str, flag: str = "--port") -> ConfigError:
    """The error for an address that cannot be had."""
    return ConfigError(
        f"cannot listen on {address}: {reason}; choose another {flag} (0 picks a free one) "
        "or --host"
    )


def listen_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket; one that a dead server left behind is replaced.

    Raises:
        ConfigError: the path cannot be used, or a server listens there.
    """
    listener = claim_unix(path)
    _listen_unix(listener, path)
    return listener


def claim_unix(path: Path) -> socket.socket:
    """A Unix socket for a path that can be used; it appears there once it listens.

    One that is bound and does not listen looks like a dead server's, which others may replace.

    Raises:
        ConfigError: the path cannot be used, or a server listens there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        _listen_unix(trial, path)
    path.unlink()
    claimed = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    claimed.setblocking(False)
    return claimed


def _listen_unix(claimed: socket.socket, path: Path) -> None:
    try:
        _remove_stale(path)
        claimed.bind(str(path))
        claimed.listen(_BACKLOG)
    except OSError as error:
        claimed.close()
        msg = (
            f"cannot listen on {path}: {error.strerror or error}; expected a path for a new socket "
            "in --grpc_socket_path"
        )
        raise ConfigError(msg) from error


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on.

    Raises:
        OSError: the path is something else, or somebody does listen.
    """
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise FileExistsError(None, "there is something else")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise FileExistsError(None, "another server listens there")


@dataclass(kw_only=True)
class Listeners:
    """The sockets of one server.

    Attributes:
        rpc: For gRPC: the port's first, then the Unix socket, if there is one.
        rest: For REST, if it has a port of its own.
        health: For health alone, if it has one.
        socket_path: Of the Unix socket, if it is made here.
        has_socket_path: Whether it lies there by now.
    """

    rpc: Sequence[socket.socket] = ()
    rest: Sequence[socket.socket] = ()
    health: Sequence[socket.socket] = ()
    socket_path: Path | None = None
    has_socket_path: bool = False

    @classmethod
    def open(cls, config: NetworkConfig, *, rpc: bool = True, shared: bool = False) -> "Listeners":
        """Take what the settings ask for; only the port for health listens at once.

        Args:
            config: The settings.
            rpc: Whether to take those for gRPC; grpcio opens its own.
            shared: See `claim`.

        Raises:
            ConfigError: an address cannot be had.
        """
        taken: list[socket.socket] = []
        rest: list[socket.socket] = []
        health: list[socket.socket] = []
        path = config.grpc_socket_path if rpc else None
        try:
            if rpc:
                taken.append(claim(config.host, config.port, shared=shared))
                if path is not None:
                    taken.append(claim_unix(path))
            if config.rest_api_port:
                flag = "--rest_api_port"
                rest.append(claim(config.host, config.rest_api_port, flag=flag, shared=shared))
            if config.health_port is not None:
                flag = "--health_port"
                health.append(listen(config.host, config.health_port, flag=flag, shared=shared))
        except ConfigError:
            for listener in (*taken, *rest):
                listener.close()
            raise
        return cls(rpc=taken, rest=rest, health=health, socket_path=path)

    def listen(self) -> None:
        """Let callers connect on the ports for gRPC and REST, and on the Unix socket.

        Raises:
            ConfigError: another server listens there by now.
        """
        for listener in self.rpc:
            if listener.family != socket.AF_UNIX:
                _listen(listener, "--port")
            elif self.socket_path is not None:
                _listen_unix(listener, self.socket_path)
                self.has_socket_path = True
        for listener in self.rest:
            _listen(listener, "--rest_api_port")

    def close(self) -> None:
        """Listen no more."""
        for listener in (*self.rpc, *self.rest, *self.health):
            listener.close()

    def remove_socket_path(self) -> None:
        """Remove the Unix socket from the file system, once nobody accepts on it."""
        if self.socket_path is not None and self.has_socket_path:
            self.socket_path.unlink(missing_ok=True)
