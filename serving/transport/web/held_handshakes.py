"""Holds back new TCP connections on listening sockets for a moment, without refusing any.

While a socket filter drops the packets that complete a handshake, the kernel hands no connection to
`accept`. Clients see an open connection, and send their first bytes again after some 200 ms.
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
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _ONLY_SYN)
    instructions = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(_ONLY_SYN), ctypes.addressof(instructions))
    try:
        for listener in listeners:
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError as error:
        logger.debug("new connections cannot be held back: %s", error)
    try:
        yield
    finally:
        release(listeners)


def release(listeners: Sequence[socket.socket]) -> None:
    """Let the connections of listening sockets through, whoever has held them back."""
    for listener in listeners:
        with contextlib.suppress(OSError):  # it has no filter, or is closed
            listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
