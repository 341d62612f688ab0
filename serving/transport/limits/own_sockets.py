"""The TCP connections that this process has accepted, found among its own file descriptors.

The web server accepts connections in Rust. The application learns of a connection only with its
first request, but the kernel lists all connections.
"""

import os
import socket
import stat
from collections.abc import Collection
from dataclasses import dataclass

from serving.transport.limits.traffic import Client

_FOLDER = "/proc/self/fd"


@dataclass(frozen=True)
class Accepted:
    """A connection that the web server has accepted.

    Attributes:
        descriptor: Its file descriptor, valid until the connection is closed.
        inode: The socket's inode, which shows whether the descriptor is still this connection.
        port: Local port of the connection.
        client: Address and port of the client.
    """

    descriptor: int
    inode: int
    port: int
    client: Client

    def shut_down(self) -> None:
        """Shut the connection down; the web server then reads its end and closes it."""
        try:
            with socket.socket(fileno=os.dup(self.descriptor)) as connection:
                # If the connection was closed, its descriptor may be another file's by now.
                if os.fstat(connection.fileno()).st_ino == self.inode:
                    connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # already closed


class OwnSockets:
    """Lists this process's sockets, with one system call a descriptor and more for new ones."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, Accepted | None]] = {}

    def accepted(self, ports: Collection[int]) -> list[Accepted]:
        """Return the connections accepted on some local ports.

        Raises:
            OSError: the system does not list a process's descriptors in /proc/self/fd.
        """
        known: dict[int, tuple[int, Accepted | None]] = {}
        for name in os.listdir(_FOLDER):  # noqa: PTH208 - saves thousands of Path objects a second
            descriptor = int(name)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISSOCK(status.st_mode):
                    continue
                entry = self._known.get(descriptor)
                if entry is None or entry[0] != status.st_ino:
                    entry = (status.st_ino, _accepted(descriptor, status.st_ino))
            except OSError:
                continue  # closed meanwhile, or not connected yet
            known[descriptor] = entry
        self._known = known
        return [found for _, found in known.values() if found is not None and found.port in ports]


def _accepted(descriptor: int, inode: int) -> Accepted | None:
    """Return the connection of a descriptor; None for a listener or a socket that is not TCP.

    Raises:
        OSError: the socket is closed or has no other end.
    """
    with socket.socket(fileno=os.dup(descriptor)) as found:
        if found.family not in {socket.AF_INET, socket.AF_INET6}:
            return None
        if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return None
        host, port = found.getpeername()[:2]
        return Accepted(
            descriptor,
            inode,
            found.getsockname()[1],
            (host.partition("%")[0], port),  # without the interface, as in ASGI's scope["client"]
        )
