"""Listening sockets, opened here so that any front, or several processes, can use them."""

import logging
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ConfigError
from serving.transport.network_config import NetworkConfig

logger = logging.getLogger(__name__)

_BACKLOG = 1024


def listen(host: str, port: int, *, flag: str = "--port", shared: bool = False) -> socket.socket:
    """Listen on a TCP port.

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
        listener = bind(host, port, shared=shared)
        listener.listen(_BACKLOG)
    except OSError as error:
        address = f"{host}:{port}"
        raise cannot_listen(address, error.strerror or str(error), flag) from error
    listener.setblocking(False)
    return listener


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Take a TCP port without listening yet; arguments as for `listen`.

    Raises:
        OSError: it cannot be had.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    taken = socket.socket(family, kind, protocol)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if shared:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(address)
    except OSError:
        taken.close()
        raise
    return taken


def cannot_listen(address: str, reason: str, flag: str = "--port") -> ConfigError:
    """The error for an address that cannot be had."""
    return ConfigError(
        f"cannot listen on {address}: {reason}; choose another {flag} (0 picks a free one) "
        "or --host"
    )


@dataclass(frozen=True)
class SocketPath:
    """The path of a Unix socket, and which socket was made there.

    Attributes:
        path: Where it was made.
        identity: Device and inode of the socket.
    """

    path: Path
    identity: tuple[int, int] | None

    @classmethod
    def of(cls, path: Path) -> "SocketPath":
        """The socket that is there now."""
        return cls(path, _identity(path))

    def remove(self) -> None:
        """Remove the socket, unless another one has taken its place."""
        try:
            if _identity(self.path) == self.identity:
                self.path.unlink()
        except OSError as error:
            logger.warning("%s stays: %s", self.path, error.strerror or error)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of what is at a path; None if there is nothing."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def listen_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket; one that a dead server left behind is replaced.

    Raises:
        ConfigError: the path cannot be used, or a server listens there.
    """
    make_room_for_socket(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot_listen_there(path, error) from error
    listener.setblocking(False)
    return listener


def make_room_for_socket(path: Path) -> None:
    """Remove a Unix socket that nobody listens on.

    Raises:
        ConfigError: something else is at the path, or somebody does listen.
    """
    try:
        if not path.exists():
            return
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise FileExistsError(None, "there is something else")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            # A server that is too busy to accept is alive: then this would block.
            probe.setblocking(False)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
            except BlockingIOError:
                pass
        raise FileExistsError(None, "another server listens there")
    except OSError as error:
        raise _cannot_listen_there(path, error) from error


def _cannot_listen_there(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot listen on {path}: {error.strerror or error}; expected a path for a new socket "
        "in --grpc_socket_path"
    )


@dataclass(frozen=True, kw_only=True)
class Listeners:
    """The sockets of one server.

    Attributes:
        rpc: For gRPC: the port's first, then the Unix socket, if there is one.
        rest: For REST, if it has a port of its own.
        health: For health alone, if it has one.
        socket_path: The Unix socket, if it was made here.
    """

    rpc: Sequence[socket.socket] = ()
    rest: Sequence[socket.socket] = ()
    health: Sequence[socket.socket] = ()
    socket_path: SocketPath | None = None

    @classmethod
    def open(cls, config: NetworkConfig, *, rpc: bool = True, shared: bool = False) -> "Listeners":
        """Open what the settings ask for.

        Args:
            config: The settings.
            rpc: Whether to open those for gRPC; grpcio opens its own.
            shared: See `listen`.

        Raises:
            ConfigError: an address cannot be had.
        """
        opened: list[socket.socket] = []
        rest: list[socket.socket] = []
        health: list[socket.socket] = []
        path = config.grpc_socket_path if rpc else None
        socket_path = None
        try:
            if rpc:
                opened.append(listen(config.host, config.port, shared=shared))
                if path is not None:
                    opened.append(listen_unix(path))
                    socket_path = SocketPath.of(path)
            if config.rest_api_port:
                flag = "--rest_api_port"
                rest.append(listen(config.host, config.rest_api_port, flag=flag, shared=shared))
            if config.health_port is not None:
                flag = "--health_port"
                health.append(listen(config.host, config.health_port, flag=flag, shared=shared))
        except ConfigError:
            for listener in (*opened, *rest):
                listener.close()
            if socket_path is not None:
                socket_path.remove()
            raise
        return cls(rpc=opened, rest=rest, health=health, socket_path=socket_path)

    def close(self) -> None:
        """Listen no more."""
        for listener in (*self.rpc, *self.rest, *self.health):
            listener.close()

    def remove_socket_path(self) -> None:
        """Remove the Unix socket from the file system, once nobody accepts on it.

        A server that has taken the path meanwhile keeps it.
        """
        if self.socket_path is not None:
            self.socket_path.remove()
