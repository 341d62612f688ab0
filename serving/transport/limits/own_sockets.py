"""The TCP connections that this process has accepted, found among its own file descriptors.

The web server accepts connections in Rust and tells the application of none before its first
request; the kernel knows them all.
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
    """A connection that came in.

    Attributes:
        descriptor: Its file descriptor, as long as nobody has closed it.
        inode: Tells whether the descriptor still is this connection.
        port: The port that it came to.
        client: Address and port of its other end.
    """

    descriptor: int
    inode: int
    port: int
    client: Client

    def shut_down(self) -> None:
        """End the connection; whoever serves it finds it at its end and closes it."""
        try:
            with socket.socket(fileno=os.dup(self.descriptor)) as connection:
                # It may have been closed, and its number be another file's by now.
                if os.fstat(connection.fileno()).st_ino == self.inode:
                    connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # gone by itself


class OwnSockets:
    """This process's sockets. A look costs a system call a descriptor, and more for new ones."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, Accepted | None]] = {}

    def accepted(self, ports: Collection[int]) -> list[Accepted]:
        """The connections that came to some ports.

        Raises:
            OSError: the system shows no process its descriptors.
        """
        known: dict[int, tuple[int, Accepted | None]] = {}
        for name in os.listdir(_FOLDER):  # noqa: PTH208 - thousands of paths a second for nothing
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
    """The connection of a descriptor; None for a listener and for what is no TCP.

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
            (host.partition("%")[0], port),  # as the web server writes it, without the interface
        )
