"""A minimal HTTP/2 client: frames, header blocks, and a connection that can break every rule.

An HTTP/2 library would refuse to send most of the attackers' frames.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence

# The attacker and the polite callers come from different addresses.
ATTACKER_HOST = "127.0.0.2"
POLITE_HOST = "127.0.0.1"

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    *(0, 1, 3, 4, 6, 7, 8, 9),
)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4
CANCEL = 8
MAX_FRAME_BYTES = 16384
DEFAULT_WINDOW_BYTES = 65535
PREDICT = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY = "/tensorflow.serving.PredictionService/Classify"
INFER = "/inference.GRPCInferenceService/ModelInfer"

Address = tuple[str, int]


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """Return one frame; the payload may exceed HTTP/2's default maximum size."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(values: Mapping[int, int]) -> bytes:
    return frame(SETTINGS, b"".join(struct.pack(">HI", *pair) for pair in values.items()))


def window_update(increment: int, stream: int = 0) -> bytes:
    return frame(WINDOW_UPDATE, struct.pack(">I", increment), stream=stream)


def reset(stream: int) -> bytes:
    return frame(RST_STREAM, struct.pack(">I", CANCEL), stream=stream)


def integer(value: int, prefix_bits: int, first: int = 0) -> bytes:
    """Return an HPACK integer (RFC 7541, 5.1)."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes([first | value])
    content = bytearray([first | most])
    value -= most
    while value >= 128:
        content.append(value % 128 + 128)
        value //= 128
    content.append(value)
    return bytes(content)


def header(name: bytes, value: bytes, *, indexed: bool = False) -> bytes:
    """Return a literal header field without Huffman coding; `indexed` adds it to the table."""
    first = b"\x40" if indexed else b"\0"
    return b"".join([first, integer(len(name), 7), name, integer(len(value), 7), value])


def header_block(fields: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(header(name.encode(), value.encode("latin-1")) for name, value in fields)


def request_fields(
    method: str, path: str, extra: Sequence[tuple[str, str]] = ()
) -> list[tuple[str, str]]:
    return [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        *extra,
    ]


def grpc_fields(path: str, extra: Sequence[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    return request_fields(
        "POST", path, [("content-type", "application/grpc"), ("te", "trailers"), *extra]
    )


def grpc_body(message: bytes, *, compressed: bool = False) -> bytes:
    return bytes([compressed]) + len(message).to_bytes(4) + message


def connect(
    address: Address, *, source: str = ATTACKER_HOST, timeout: float = 2.0
) -> socket.socket:
    """Open a TCP connection from the loopback address `source`."""
    connected = socket.create_connection(address, timeout, source_address=(source, 0))
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def hang_up(connected: socket.socket) -> None:
    """Close a connection with a reset, so that thousands of them do not linger in TIME_WAIT."""
    with contextlib.suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connected.close()


class Connection:
    """One HTTP/2 connection that also sends what its user puts on the socket directly.

    Attributes:
        socket: The TCP socket, for sending any bytes.
        bodies: Payload of the DATA frames received on each stream.
        ended: Streams that the server has ended or reset.
    """

    def __init__(
        self,
        address: Address,
        *,
        source: str = ATTACKER_HOST,
        values: Mapping[int, int] | None = None,
        timeout: float = 2.0,
    ) -> None:
        """Connect and send the preface, with a SETTINGS frame of `values`."""
        self.socket = connect(address, source=source, timeout=timeout)
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self._timeout = timeout
        self._next_stream = 1
        self._received = b""
        self._window = DEFAULT_WINDOW_BYTES
        self._initial_window = DEFAULT_WINDOW_BYTES
        self._stream_windows: dict[int, int] = {}
        self.socket.sendall(PREFACE + settings(values or {}))

    def stream(self) -> int:
        """Return the number of a new stream."""
        self._next_stream += 2
        return self._next_stream - 2

    def request(
        self, fields: Iterable[tuple[str, str]], body: bytes = b"", *, ends: bool = True
    ) -> int:
        """Send a request within the server's windows; return the number of its stream.

        Raises:
            OSError: the connection has ended, or a window stays closed.
        """
        stream = self.stream()
        flags = END_HEADERS | (END_STREAM if ends and not body else 0)
        self.socket.sendall(frame(HEADERS, header_block(fields), flags=flags, stream=stream))
        sent = 0
        give_up_at = time.monotonic() + 10 * self._timeout
        while sent < len(body):
            own = self._stream_windows.setdefault(stream, self._initial_window)
            size = min(MAX_FRAME_BYTES, len(body) - sent, own, self._window)
            if size <= 0:
                if time.monotonic() > give_up_at or stream in self.ended:
                    msg = f"the window of stream {stream} stays closed"
                    raise TimeoutError(msg)
                self.receive(0.1)
                continue
            last = ends and sent + size == len(body)
            part = body[sent : sent + size]
            self.socket.sendall(frame(DATA, part, flags=END_STREAM if last else 0, stream=stream))
            sent += size
            self._window -= size
            self._stream_windows[stream] = own - size
        return stream

    def receive(self, seconds: float = 0.0) -> bool:
        """Read and handle frames, after waiting `seconds` at most; return False if none arrived.

        Raises:
            ConnectionError: the server has closed the connection.
        """
        self.socket.settimeout(seconds)
        try:
            content = self.socket.recv(1 << 18)
        except (TimeoutError, BlockingIOError):
            return False
        finally:
            self.socket.settimeout(self._timeout)
        if not content:
            msg = "the server has closed the connection"
            raise ConnectionResetError(msg)
        self._received += content
        while len(self._received) >= 9:
            end = 9 + int.from_bytes(self._received[:3])
            if len(self._received) < end:
                break
            kind, flags, stream = struct.unpack(">BBI", self._received[3:9])
            self._handle(kind, flags, stream & 0x7FFFFFFF, self._received[9:end])
            self._received = self._received[end:]
        return True

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[at : at + 6])
                if name == INITIAL_WINDOW_SIZE:
                    for open_stream in self._stream_windows:
                        self._stream_windows[open_stream] += value - self._initial_window
                    self._initial_window = value
            self.socket.sendall(frame(SETTINGS, flags=ACK))
        elif kind == WINDOW_UPDATE:
            (increment,) = struct.unpack(">I", payload)
            if stream:
                own = self._stream_windows.get(stream, self._initial_window)
                self._stream_windows[stream] = own + increment
            else:
                self._window += increment
        elif kind == PING and not flags & ACK:
            self.socket.sendall(frame(PING, payload, flags=ACK))
        elif kind == DATA:
            self.bodies[stream] = self.bodies.get(stream, b"") + payload
        if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
            self.ended.add(stream)

    def answers(self, streams: Iterable[int], until: float) -> int:
        """Wait until all streams have ended, or until a time; return the number that have ended.

        Args:
            streams: Numbers of the streams.
            until: `time.monotonic()` at which to stop waiting.

        Raises:
            ConnectionError: the server has closed the connection.
        """
        wanted = set(streams)
        while not wanted <= self.ended and (left := until - time.monotonic()) > 0:
            self.receive(min(left, 0.5))
        return len(wanted & self.ended)

    def close(self) -> None:
        """Close the connection with a reset."""
        hang_up(self.socket)
