"""Recognises clients that speak TLS to a port of plain text.

h2corn takes the first message of a TLS handshake for the beginning of an HTTP/1.1 request, and
waits for its end. Only the kernel can look at the bytes before h2corn reads them: a socket filter
drops that message, and the kernel counts what it drops. `Janitor` closes such a connection.

Accepted connections inherit the filter. `Janitor` removes it when it sees their first request.
"""

import contextlib
import ctypes
import logging
import os
import socket
import struct
from collections.abc import Sequence

logger = logging.getLogger(__name__)

# From <asm-generic/socket.h>; Python's `socket` lacks them.
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")
_DROPS = 8
# From <linux/tcp.h>: bytes_received is at this place of `struct tcp_info`.
_BYTES_RECEIVED = struct.Struct("=128xQ")

# Classic BPF. A filter on a TCP socket sees packets from their TCP header on. A packet is dropped
# if its data begin with a record of type 22 (handshake) and version 3, whose message is of type 1
# (ClientHello), shorter than 64 KiB, and of version 3. X is the length of the TCP header.
_LOAD_BYTE, _LOAD_BYTE_AT_X, _LOAD_LENGTH = 0x30, 0x50, 0x80
_AND, _SHIFT_RIGHT, _TO_X, _SUBTRACT_X = 0x54, 0x74, 0x07, 0x1C
_JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x15, 0x35, 0x06
_SIGN = ((0, 22), (1, 3), (5, 1), (6, 0), (9, 3))


def _filter() -> list[tuple[int, int, int, int]]:
    """Return the instructions: code, jump if true, jump if false, value."""
    head = [
        (_LOAD_BYTE, 0, 0, 12),
        (_SHIFT_RIGHT, 0, 0, 2),  # the upper four bits are the header's length in words of 4 bytes
        (_AND, 0, 0, 0x3C),
        (_TO_X, 0, 0, 0),
        (_LOAD_LENGTH, 0, 0, 0),
        (_SUBTRACT_X, 0, 0, 0),
        (_JUMP_IF_AT_LEAST, 0, 2 * len(_SIGN) + 1, _SIGN[-1][0] + 1),
    ]
    body = []
    for number, (place, value) in enumerate(_SIGN):
        otherwise = 2 * (len(_SIGN) - number) - 1
        body += [(_LOAD_BYTE_AT_X, 0, 0, place), (_JUMP_IF_EQUAL, 0, otherwise, value)]
    return [*head, *body, (_RETURN, 0, 0, 0), (_RETURN, 0, 0, 0xFFFFFFFF)]


def drop(listeners: Sequence[socket.socket]) -> None:
    """Drop the first message of TLS handshakes on listening sockets of plain text.

    A kernel without socket filters drops nothing: such connections then end after the time for a
    first request.
    """
    instructions = _filter()
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    text = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(instructions), ctypes.addressof(text))
    try:
        for listener in listeners:
            if listener.family in {socket.AF_INET, socket.AF_INET6}:
                listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError as error:
        logger.debug("clients with TLS at a port of plain text are not recognised: %s", error)


def was_dropped(descriptor: int) -> bool:
    """Return whether a connection's first message was dropped, so that nothing was received."""
    with contextlib.suppress(OSError, struct.error), _connection(descriptor) as connection:
        memory = connection.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        if _MEMINFO.unpack(memory)[_DROPS] == 0:
            return False
        facts = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
        return _BYTES_RECEIVED.unpack(facts) == (0,)
    return False


def let_through(descriptor: int) -> None:
    """Remove the filter of a connection, which has had a request."""
    with contextlib.suppress(OSError), _connection(descriptor) as connection:
        connection.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _connection(descriptor: int) -> socket.socket:
    return socket.socket(fileno=os.dup(descriptor))
