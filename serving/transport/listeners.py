"""Listening sockets, opened here so that any front end, and several processes, can use them."""

import contextlib
import errno
import logging
import socket
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.errors import ConfigError
from serving.transport.network_config import AdminAddress, NetworkConfig

logger = logging.getLogger(__name__)

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]

_BACKLOG = 1024
_ADMIN = "--admin_address"


def listen(host: str, port: int, *, flag: str = "--port", shared: bool = False) -> socket.socket:
    """Bind a TCP port and listen on it; arguments and errors as for `claim`."""
    listener = claim(host, port, flag=flag, shared=shared)
    _listen(listener, flag)
    return listener


def claim(host: str, port: int, *, flag: str = "--port", shared: bool = False) -> socket.socket:
    """Bind a TCP port without listening yet: connections are refused until `Listeners.listen`.

    Args:
        host: Name or address; `::` accepts IPv4 too.
        port: Port number; 0 picks a free one.
        flag: Name of the setting that holds the port, for the message.
        shared: Let further sockets of this user listen on the same port; the kernel then
            distributes the connections among them.

    Returns:
        The bound socket, non-blocking.

    Raises:
        ConfigError: the address does not exist on this machine or is in use.
    """
    try:
        claimed = bind(host, port, shared=shared)
    except OSError as error:
        address = f"{host}:{port}"
        raise cannot_listen(address, error.strerror or str(error), flag) from error
    claimed.setblocking(False)
    return claimed


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Bind a TCP port as `claim` does, but raise the system's error; same arguments.

    Raises:
        OSError: the address does not exist on this machine or is in use.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    try:
        # First try without SO_REUSEADDR: two servers that both set it could bind the same port, and
        # the second would fail only when it listens, after minutes of loading models.
        return _bind(found[0], reuse=False, shared=shared)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # The port may be in use only by lingering connections of a server that has ended.
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
    """Listen on a claimed port.

    Raises:
        ConfigError: another server listens on this port by now.
    """
    host, port, *_ = claimed.getsockname()
    try:
        # Accepted connections inherit this option: without it, their lingering would keep the next
        # server from binding the port.
        claimed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        claimed.listen(_BACKLOG)
    except OSError as error:
        claimed.close()
        address = f"{host}:{port}"
        raise cannot_listen(address, error.strerror or str(error), flag) from error


def cannot_listen(address: str, reason: str, flag: str = "--port") -> ConfigError:
    """Return the error for an address on which the server cannot listen."""
    return ConfigError(
        f"cannot listen on {address}: {reason}; choose another {flag} (0 picks a free one) "
        "or --host"
    )


@dataclass(frozen=True)
class SocketPath:
    """The path of a Unix socket, with the identity of the socket that was created at this path.

    Attributes:
        path: Path of the socket.
        identity: Device and inode of the socket; None if there was none.
    """

    path: Path
    identity: tuple[int, int] | None

    @classmethod
    def of(cls, path: Path) -> "SocketPath":
        """Return the path with the identity of the socket that is at the path now."""
        return cls(path, _identity(path))

    def remove(self) -> None:
        """Remove the socket, unless another one has replaced it."""
        try:
            if _identity(self.path) == self.identity:
                self.path.unlink()
        except OSError as error:
            logger.warning(
                "cannot remove the Unix socket %s: %s", self.path, error.strerror or error
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file at a path; None if no file exists."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def listen_unix(path: Path) -> socket.socket:
    """Create a Unix socket and listen on it; replace a socket that a dead server has left behind.

    Raises:
        ConfigError: the path cannot be used, or another server listens on it.
    """
    listener = claim_unix(path)
    _listen_unix(listener, path)
    return listener


def claim_unix(path: Path, *, flag: str = "--grpc_socket_path") -> socket.socket:
    """Check that a Unix socket can be created at a path, and return an unbound socket for it.

    The socket is bound to the path only when it listens: a socket that is bound and does not listen
    looks like a dead server's, which another server may replace.

    Args:
        path: The path.
        flag: Name of the setting that holds the path, for the message.

    Raises:
        ConfigError: the path cannot be used, or another server listens on it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        _listen_unix(trial, path, flag)
    path.unlink()
    claimed = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    claimed.setblocking(False)
    return claimed


def _listen_unix(
    claimed: socket.socket, path: Path, flag: str = "--grpc_socket_path"
) -> SocketPath:
    """Bind a socket to a path and listen on it; return the path with the socket's identity."""
    try:
        make_room_for_socket(path, flag)
        claimed.bind(str(path))
        claimed.listen(_BACKLOG)
    except ConfigError:
        claimed.close()
        raise
    except OSError as error:
        claimed.close()
        raise _cannot_listen_there(path, error, flag) from error
    return SocketPath.of(path)


def make_room_for_socket(path: Path, flag: str = "--grpc_socket_path") -> None:
    """Remove a Unix socket on which no server listens; do nothing if the path does not exist.

    Raises:
        ConfigError: the path is not a socket, or a server listens on it.
    """
    try:
        if not path.exists():
            return
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise FileExistsError(None, "the path exists and is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            # If connecting would block, a server is alive but too busy to accept.
            probe.setblocking(False)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
            except BlockingIOError:
                pass
        raise FileExistsError(None, "another server listens on it")
    except OSError as error:
        raise _cannot_listen_there(path, error, flag) from error


def _cannot_listen_there(path: Path, error: OSError, flag: str) -> ConfigError:
    return ConfigError(
        f"cannot listen on {path}: {error.strerror or error}; expected {flag} to name a path for a "
        "new socket"
    )


def _claim_admin(address: AdminAddress, *, shared: bool) -> socket.socket:
    if address.path is not None:
        return claim_unix(address.path, flag=_ADMIN)
    return claim(address.host, address.port, flag=_ADMIN, shared=shared)


def _tcp(listeners: Iterable[socket.socket]) -> list[socket.socket]:
    return [one for one in listeners if one.family in {socket.AF_INET, socket.AF_INET6}]


@dataclass(kw_only=True)
class Listeners:
    """The sockets of one server.

    Attributes:
        rpc: Sockets for gRPC: first the port's, then the Unix socket if the settings name one.
        rest: The socket of the REST port; empty if the settings have none.
        health: The socket of the health port; empty if the settings have none.
        admin: The socket of the admin listener; empty if the settings have none.
        grpc_socket_path: Path for the Unix socket, which `listen` creates; None if there is none.
        admin_socket_path: The same for the admin listener.
        created: The Unix sockets that `listen` has created.
    """

    rpc: Sequence[socket.socket] = ()
    rest: Sequence[socket.socket] = ()
    health: Sequence[socket.socket] = ()
    admin: Sequence[socket.socket] = ()
    grpc_socket_path: Path | None = None
    admin_socket_path: Path | None = None
    created: list[SocketPath] = field(default_factory=list)

    @classmethod
    def open(cls, config: NetworkConfig, *, rpc: bool = True, shared: bool = False) -> "Listeners":
        """Bind the addresses of the settings; only the health port listens at once.

        Args:
            config: The network settings.
            rpc: Whether to bind the gRPC addresses; False for grpcio, which binds them itself.
            shared: See `claim`.

        Raises:
            ConfigError: an address does not exist on this machine or is in use.
        """
        taken: list[socket.socket] = []
        rest: list[socket.socket] = []
        health: list[socket.socket] = []
        admin: list[socket.socket] = []
        admin_path = config.admin_address.path if config.admin_address is not None else None
        path = config.grpc_socket_path if rpc else None
        try:
            if rpc:
                taken.append(claim(config.host, config.port, shared=shared))
                if path is not None:
                    taken.append(claim_unix(path))
            if config.rest_api_port:
                flag = "--rest_api_port"
                rest.append(claim(config.host, config.rest_api_port, flag=flag, shared=shared))
            if config.admin_address is not None:
                admin.append(_claim_admin(config.admin_address, shared=shared))
            if config.health_port is not None:
                flag = "--health_port"
                health.append(listen(config.host, config.health_port, flag=flag, shared=shared))
        except ConfigError:
            for listener in (*taken, *rest, *admin):
                listener.close()
            raise
        return cls(
            rpc=taken,
            rest=rest,
            health=health,
            admin=admin,
            grpc_socket_path=path,
            admin_socket_path=admin_path,
        )

    def listen(self) -> None:
        """Listen on the ports for gRPC and REST, on the Unix socket and for the admin listener.

        Raises:
            ConfigError: another server listens on one of them by now.
        """
        for listener in self.rpc:
            if listener.family != socket.AF_UNIX:
                _listen(listener, "--port")
            elif self.grpc_socket_path is not None:
                self.created.append(_listen_unix(listener, self.grpc_socket_path))
        for listener in self.rest:
            _listen(listener, "--rest_api_port")
        for listener in self.admin:
            if listener.family != socket.AF_UNIX:
                _listen(listener, _ADMIN)
            elif self.admin_socket_path is not None:
                self.created.append(_listen_unix(listener, self.admin_socket_path, _ADMIN))

    def listen_for_health(self) -> None:
        """Listen on the health port, again if `stop_listening` was called meanwhile.

        Raises:
            ConfigError: another server listens on the port by now.
        """
        for listener in self.health:
            _listen(listener, "--health_port")

    def listen_again(self) -> None:
        """Listen on the TCP ports, except the health port, after `stop_listening`.

        Raises:
            ConfigError: another server listens on one of them by now.
        """
        listeners = {"--port": self.rpc, "--rest_api_port": self.rest, _ADMIN: self.admin}
        for flag, sockets in listeners.items():
            for listener in _tcp(sockets):
                _listen(listener, flag)

    def stop_listening(self, *, health: bool = True) -> None:
        """Stop listening on the TCP ports, which stay bound, in all processes with these sockets.

        The kernel gives new connections to other sockets that listen on the same ports, or refuses
        them. It resets those that no process has accepted; with the setting
        `net.ipv4.tcp_migrate_req` it gives them to the other sockets, too. A Unix socket goes on,
        because it is shared with the other workers.

        Args:
            health: Whether to stop on the health port, too.
        """
        leaving = (*self.rpc, *self.rest, *self.admin, *(self.health if health else ()))
        for listener in _tcp(leaving):
            with contextlib.suppress(OSError):  # it is closed
                # On a socket that does not listen, the call would end the connections that it
                # accepts when it listens again.
                if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    listener.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Close all sockets."""
        for listener in (*self.rpc, *self.rest, *self.health, *self.admin):
            listener.close()

    def remove_socket_path(self) -> None:
        """Remove the paths of the Unix sockets; call this after the server has stopped accepting.

        A path stays if another server has created its own socket at the path meanwhile.
        """
        for path in self.created:
            path.remove()
