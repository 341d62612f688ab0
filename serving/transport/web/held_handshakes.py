"""Holds back new TCP connections on listening sockets for a moment, without refusing any.

While a socket filter drops the packets that complete a handshake (`hold`), the kernel hands no
connection to `accept`. Clients see an open connection, and send their first bytes again after some
200 ms. While it drops those that begin one (`turn_away`), clients see nothing, and try again after
a second; the kernel then gives them to another socket that listens on the port, if this one does
not listen any more.
"""

import contextlib
import ctypes
import logging
import socket
import struct
from collections.abc import Iterator, Sequence

logger = logging.getLogger(__name__)

# From <asm-generic/socket.h>; Python's `socket` lacks them.
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
# Classic BPF. A filter on a TCP socket sees packets from their TCP header on, whose byte 13 has the
# flags. Packets with the flag SYN (2) begin a handshake and pass, all others are dropped.
_LOAD_BYTE, _JUMP_IF_SET, _RETURN = 0x30, 0x45, 0x06
_NO_SYN = (
    (_LOAD_BYTE, 0, 0, 13),
    (_JUMP_IF_SET, 0, 1, 0x02),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, 0xFFFFFFFF),
)
_ONLY_SYN = (
    (_LOAD_BYTE, 0, 0, 13),
    (_JUMP_IF_SET, 0, 1, 0x02),
    (_RETURN, 0, 0, 0xFFFFFFFF),
    (_RETURN, 0, 0, 0),
)


@contextlib.contextmanager
def hold(listeners: Sequence[socket.socket]) -> Iterator[None]:
    """Hold back new connections while the context lasts.

    A kernel without socket filters holds nothing back.
    """
    _attach(listeners, _ONLY_SYN)
    try:
        yield
    finally:
        release(listeners)


def turn_away(listeners: Sequence[socket.socket]) -> None:
    """Drop the first packets of new connections from now on; handshakes that have begun go on.

    Unix sockets, and a kernel without socket filters, go on as before.
    """
    tcp = [one for one in listeners if one.family in {socket.AF_INET, socket.AF_INET6}]
    _attach(tcp, _NO_SYN)


def _attach(
    listeners: Sequence[socket.socket], program: Sequence[tuple[int, int, int, int]]
) -> None:
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    instructions = ctypes.create_string_buffer(code, len(code))
    pointer = struct.pack("HP", len(program), ctypes.addressof(instructions))
    try:
        for listener in listeners:
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
    except OSError as error:
        logger.debug("new connections cannot be held back: %s", error)


def release(listeners: Sequence[socket.socket]) -> None:
    """Let the connections of listening sockets through, whoever has held them back."""
    for listener in listeners:
        with contextlib.suppress(OSError):  # it has no filter, or is closed
            listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
