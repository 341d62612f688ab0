"""Messages between the load generator and the process of its view; sending never waits."""

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any

# Kind and value. Kinds to the view: brief, begin, increment, note and end. From it: ready and
# figures.
Message = tuple[str, Any]

# What the view's process does: draw a screen, or send figures for a line.
SCREEN, FIGURES = "screen", "figures"

_HEAD = struct.Struct("!Q")  # length of the pickled message in bytes
_READ_BYTES = 1 << 18


def packed(message: Message) -> bytes:
    """Return a message with its length, as it is sent."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _HEAD.pack(len(body)) + body


class Unpacker:
    """Splits received bytes into messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, content: bytes) -> list[Message]:
        """Add received bytes and return the messages that are complete now."""
        self._bytes += content
        found: list[Message] = []
        while len(self._bytes) >= _HEAD.size:
            (length,) = _HEAD.unpack_from(self._bytes)
            end = _HEAD.size + length
            if len(self._bytes) < end:
                break
            # The other end is a process of this program.
            found.append(pickle.loads(bytes(self._bytes[_HEAD.size : end])))  # noqa: S301
            del self._bytes[:end]
        return found


class Link:
    """The load generator's end of the connection to its view.

    If the view does not read, as after Ctrl-S, messages wait here. They hold what the recording of
    the run holds, too.
    """

    def __init__(
        self,
        connection: socket.socket,
        on_message: Callable[[Message], None],
        on_gone: Callable[[], None],
    ) -> None:
        """Start to receive; call this in the event loop that the link is used in.

        Args:
            connection: Socket to the view.
            on_message: Called with each message from the view.
            on_gone: Called once if the view ends, while the link is open.
        """
        self._connection = connection
        self._on_message = on_message
        self._on_gone = on_gone
        self._received = Unpacker()
        self._waiting = bytearray()
        self._open = True
        self._loop = asyncio.get_running_loop()
        connection.setblocking(False)
        self._loop.add_reader(connection, self._read)

    def send(self, message: Message) -> None:
        """Send a message; a view that is gone does not get it."""
        if self._open:
            idle = not self._waiting
            self._waiting += packed(message)
            if idle:
                self._write()

    def finish(self, message: Message, seconds: float) -> None:
        """Send a last message, wait until everything is sent, and close; the loop may have ended.

        Args:
            message: The message.
            seconds: Longest time to wait.
        """
        if not self._open:
            return
        self._stop()
        try:
            self._connection.settimeout(seconds)
            self._connection.sendall(self._waiting + packed(message))
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the view is gone, or has not read in time

    def close(self) -> None:
        """Close the socket."""
        self._stop()
        self._connection.close()

    def _write(self) -> None:
        try:
            sent = self._connection.send(self._waiting)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._gone()
            return
        del self._waiting[:sent]
        if self._waiting:
            self._loop.add_writer(self._connection, self._write)
        else:
            self._loop.remove_writer(self._connection)

    def _read(self) -> None:
        try:
            content = self._connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if not content:
            self._gone()
            return
        for message in self._received.feed(content):
            self._on_message(message)

    def _gone(self) -> None:
        if self._open:
            self._stop()
            self._on_gone()

    def _stop(self) -> None:
        if self._open and not self._loop.is_closed():
            self._loop.remove_reader(self._connection)
            self._loop.remove_writer(self._connection)
        self._open = False
