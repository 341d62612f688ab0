"""Connections that wait for a worker which has ended: their clients are sent to another worker.

The kernel has given them to the worker before the supervisor noticed its end, and resets them when
the worker's socket stops listening. For a gRPC client that is a failed attempt to connect: it waits
for about a second before the next one, and fails all calls meanwhile. A GOAWAY for all streams
instead says that no request was looked at, so that the client sends them again, at once and over a
new connection (RFC 9113, sections 5.1.2 and 6.8). Clients that do not begin with the preface of
HTTP/2, because they speak HTTP/1.1 or TLS, are closed.
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence

# What a client of HTTP/2 sends first (RFC 9113, section 3.4).
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Frames: length, type and flags, stream 0, content. GOAWAY: last stream 0, NO_ERROR.
_SETTINGS = b"\0\0\0" + b"\x04\0" + b"\0\0\0\0"
_SETTINGS_ACK = b"\x04\x01"
_GOAWAY = b"\0\0\x08" + b"\x07\0" + b"\0\0\0\0" + bytes(8)
# Time for a client to send its first bytes and to close its connection.
_SECONDS = 1.0

_sending: set[asyncio.Task[None]] = set()


def send_away(listeners: Sequence[socket.socket]) -> None:
    """Accept all connections that wait on listening TCP sockets, and close them as above.

    Call it in the event loop of a process that has no other use for connections; the closing goes
    on in tasks of the loop.
    """
    for listener in listeners:
        if listener.family != socket.AF_UNIX:
            for connection in _accept_all(listener):
                task = asyncio.create_task(_send_away(connection))
                _sending.add(task)
                task.add_done_callback(_sending.discard)


def _accept_all(listener: socket.socket) -> list[socket.socket]:
    accepted = []
    with contextlib.suppress(OSError):  # none is left, it does not listen, or no file is left
        listener.setblocking(False)
        while True:
            accepted.append(listener.accept()[0])
    return accepted


async def _send_away(connection: socket.socket) -> None:
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            async with asyncio.timeout(_SECONDS):
                if await reader.readexactly(len(_PREFACE)) != _PREFACE:
                    return
                writer.write(_SETTINGS)
                # If it ends before the client has opened it, the client waits as after a reset.
                await _read_until_acknowledged(reader)
                writer.write(_GOAWAY)
                writer.write_eof()
                # A socket that is closed with unread bytes sends a reset.
                while await reader.read(1 << 16):
                    pass
        finally:
            writer.close()


async def _read_until_acknowledged(reader: asyncio.StreamReader) -> None:
    """Read frames until the client has acknowledged the settings."""
    while True:
        head = await reader.readexactly(9)
        await reader.readexactly(int.from_bytes(head[:3]))
        if head[3:5] == _SETTINGS_ACK:
            return
