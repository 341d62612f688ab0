"""gRPC's wire format inside HTTP/2: message framing, compression, deadlines and status.

Written against the gRPC-over-HTTP/2 specification (grpc/grpc, doc/PROTOCOL-HTTP2.md) and its table
of status codes (doc/statuscodes.md). A message is one flag byte (1: compressed), four bytes of
big-endian length, and that many bytes.
"""

import struct
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from serving.errors import InvalidInput, ResourceExhausted, StatusCode, Unsupported
from serving.transport.asgi import Disconnected, Receive
from serving.transport.limits.body_time import BodyTime
from serving.transport.limits.byte_budget import Hold
from serving.transport.limits.inflate import WINDOW_BITS, inflate

PREFIX_BYTES = 5
_PREFIX = struct.Struct(">BI")
ACCEPT_ENCODING = b"identity,deflate,gzip"
# TensorFlow Serving cuts status messages at this length (model_servers/grpc_status_util.cc).
MAX_STATUS_MESSAGE = 1024
TRUNCATED = "...TRUNCATED"
# grpc-message is percent-encoded, except for printable ASCII characters other than "%".
_PLAIN_CHARACTERS = "".join(chr(code) for code in range(0x20, 0x7F) if code != ord("%"))
_TIMEOUT_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT_MAX_DIGITS = 8
# A message of up to this size does not count in the byte budget while only the end of its body is
# awaited, unless more than so many requests wait for that: together they hold at most 8 MiB.
_SMALL_BYTES = 4096
_MOST_UNCOUNTED = 2048


async def read_only_message(
    receive: Receive, headers: Mapping[bytes, bytes], max_message_bytes: int, hold: Hold, path: str
) -> bytes:
    """Read the only request of a unary call.

    Args:
        receive: ASGI's `receive` of the call, of which nothing was read yet.
        headers: The call's headers.
        max_message_bytes: Size limit of a message.
        hold: Counts the body's bytes.
        path: The call's path, for the message of an error.

    Returns:
        The serialized message, decompressed.

    Raises:
        Disconnected: the client is gone.
        Unsupported: the body holds no message, or several.
        DeadlineExceeded, InvalidInput, ResourceExhausted, Unavailable: see
            `MessageReader.read_message`.
    """
    # The usual message is small and uncompressed. It arrives in one piece, and the end of the body
    # comes as another, empty piece. Such a message needs no reader.
    pieces = [await receive()]
    body: bytes = pieces[0].get("body", b"")
    length = len(body) - PREFIX_BYTES
    budget = hold.budget
    if (
        0 <= length <= _SMALL_BYTES
        and length <= max_message_bytes
        and _PREFIX.unpack_from(body) == (0, length)
        and budget.uncounted < _MOST_UNCOUNTED
    ):
        if not pieces[0].get("more_body"):
            return body[PREFIX_BYTES:]
        budget.uncounted += 1
        try:
            end = await receive()
        finally:
            budget.uncounted -= 1
        if end["type"] == "http.request" and not (end.get("body") or end.get("more_body")):
            return body[PREFIX_BYTES:]
        pieces.append(end)
    reader = MessageReader(receive, headers, max_message_bytes, hold)
    return await reader.read_only_message(pieces, path)


class MessageReader:
    """Cuts the body of a request into gRPC messages."""

    def __init__(
        self,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        max_message_bytes: int,
        hold: Hold,
    ) -> None:
        self._hold = hold
        self._receive = receive
        self._encoding = headers.get(b"grpc-encoding", b"identity")
        self._max_message_bytes = max_message_bytes
        self._buffer = bytearray()
        self._ended = False
        self._time: BodyTime | None = None  # created late: few bodies arrive in several pieces

    async def read_only_message(self, pieces: Iterable[Mapping[str, Any]], path: str) -> bytes:
        """Read the only request of a unary call; see the function of this name.

        Args:
            pieces: The events of the body that were received already.
            path: The call's path, for the message of an error.
        """
        parts = [self._piece_of(event) for event in pieces]
        first = parts[0]
        length = int.from_bytes(first[1:PREFIX_BYTES])
        if len(first) >= PREFIX_BYTES and first[0] == 0 and length <= self._max_message_bytes:
            # An uncompressed message within the limit skips the steps below, so that its bytes are
            # copied only once.
            while not self._ended:
                parts.append(self._piece_of(await self._receive()))
            message = b"".join([first[PREFIX_BYTES:], *parts[1:]])
            if len(message) == length:
                return message
            self._buffer += first[:PREFIX_BYTES]
            self._buffer += message
        else:
            for part in parts:
                self._buffer += part
        only = await self.read_message()
        while not self._ended and not self._buffer:
            await self._read_chunk()
        if only is None or self._buffer:
            count = "none" if only is None else "more"
            msg = f"{path} takes exactly one request message, received {count}"
            raise Unsupported(msg)
        return only

    async def read_message(self) -> bytes | None:
        """Read the next message and decompress it; return None at the end of the body.

        Raises:
            DeadlineExceeded: the message takes too long to arrive.
            InvalidInput: the body is cut off inside a message, or the message is malformed.
            ResourceExhausted: the message is larger than `max_message_bytes`.
            Unavailable: all requests together exceed the byte budget.
            Unsupported: the compression is unknown.
        """
        if not self._buffer:
            self._time = None  # a stream may pause between two messages
        await self._fill(PREFIX_BYTES)
        if not self._buffer:
            return None
        if len(self._buffer) < PREFIX_BYTES:
            msg = f"request body ends inside a message prefix: {len(self._buffer)} of 5 bytes"
            raise InvalidInput(msg)
        flag = self._buffer[0]
        length = int.from_bytes(self._buffer[1:PREFIX_BYTES])
        if length > self._max_message_bytes:
            msg = (
                f"request message has {length} bytes, expected at most {self._max_message_bytes}; "
                "send smaller batches or raise the server's --max_message_bytes, or "
                "--max_buffered_bytes if it is not set"
            )
            raise ResourceExhausted(msg)
        end = PREFIX_BYTES + length
        await self._fill(end)
        if len(self._buffer) < end:
            received = len(self._buffer) - PREFIX_BYTES
            msg = f"request message announces {length} bytes, but {received} arrived"
            raise InvalidInput(msg)
        message = bytes(memoryview(self._buffer)[PREFIX_BYTES:end])
        del self._buffer[:end]
        if flag == 0:
            return message
        if flag == 1:
            return await self._decompress(message)
        msg = f"message prefix has flag {flag}, expected 0 or 1"
        raise InvalidInput(msg)

    async def wait_for_disconnect(self) -> None:
        """Return when the client has disconnected; call this after the last message.

        Further pieces that arrive are dropped, and do not count in the byte budget.
        """
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _fill(self, count: int) -> None:
        """Read until the buffer holds `count` bytes or the body has ended."""
        while len(self._buffer) < count and not self._ended:
            await self._read_chunk()

    async def _read_chunk(self) -> None:
        self._buffer += self._piece_of(await self._receive())

    def _piece_of(self, event: Mapping[str, Any]) -> bytes:
        if event["type"] == "http.disconnect":
            raise Disconnected
        body: bytes = event.get("body", b"")
        self._ended = not event.get("more_body", False)
        if not self._ended:
            self._hold.take(len(body))
            if self._time is None:
                self._time = BodyTime(len(body))
            else:
                self._time.check(len(body))
        return body

    async def _decompress(self, message: bytes) -> bytes:
        window_bits = WINDOW_BITS.get(self._encoding)
        if window_bits is None:
            name = self._encoding.decode("latin-1")
            msg = f"grpc-encoding {name!r} is not supported; expected identity, deflate or gzip"
            raise Unsupported(msg)
        return await inflate(
            message,
            window_bits,
            limit=self._max_message_bytes,
            hold=self._hold,
            what="compressed request message",
        )


def frame(payload: bytes) -> bytes:
    """Return a serialized message with the prefix for no compression."""
    return _PREFIX.pack(0, len(payload)) + payload


def prefix(length: int) -> bytes:
    """Return the prefix of an uncompressed message of `length` bytes."""
    return _PREFIX.pack(0, length)


def deadline(headers: Mapping[bytes, bytes]) -> float | None:
    """Return `grpc-timeout` (`250m`, `3S`, ...) as a deadline in terms of `time.monotonic()`.

    None if the call has no such header.

    Raises:
        InvalidInput: the header is malformed.
    """
    timeout = headers.get(b"grpc-timeout")
    if timeout is None:
        return None
    digits, unit = timeout[:-1], timeout[-1:]
    if not digits.isdigit() or len(digits) > _TIMEOUT_MAX_DIGITS or unit not in _TIMEOUT_UNITS:
        text = timeout.decode("latin-1")
        msg = f"grpc-timeout is {text!r}, expected 1 to 8 digits and one of H M S m u n"
        raise InvalidInput(msg)
    return time.monotonic() + int(digits) * _TIMEOUT_UNITS[unit]


def cut_message(message: str) -> str:
    """Cut a status message at the length where TensorFlow Serving cuts it."""
    if len(message) > MAX_STATUS_MESSAGE:
        return message[:MAX_STATUS_MESSAGE] + TRUNCATED
    return message


def status_headers(code: StatusCode, message: str) -> Iterable[tuple[bytes, bytes]]:
    """Yield the headers or trailers that end a call; a long message is cut."""
    yield b"grpc-status", str(int(code)).encode()
    encoded = quote(cut_message(message), safe=_PLAIN_CHARACTERS)
    # HTTP forbids spaces around a header's value, and some of TensorFlow Serving's messages end in
    # a space.
    if encoded.endswith(" "):
        encoded = encoded[:-1] + "%20"
    if encoded.startswith(" "):
        encoded = "%20" + encoded[1:]
    yield b"grpc-message", encoded.encode()
