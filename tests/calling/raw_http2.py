"""HTTP/2 frames that no client library sends, from any address of 127.0.0.0/8."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY = 0, 1, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = struct.pack(">I", len(payload))[1:] + bytes([kind, flags])
    return head + struct.pack(">I", stream) + payload


def field(name: bytes, value: bytes, first: int = 0) -> bytes:
    """Return a header in HPACK without indexing; `first` 0x40 adds it to the connection's table."""
    return bytes([first]) + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, length = len(text) - 127, b"\x7f"
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return length + bytes([rest]) + text


GRPC_FIELDS = [field(b"content-type", b"application/grpc"), field(b"te", b"trailers")]


def request(
    stream: int, path: str, *more: bytes, method: str = "POST", ends: bool = False
) -> bytes:
    """Return the HEADERS frame of a gRPC call or a GET; `more` are headers in HPACK."""
    block = b"".join(
        [
            field(b":method", method.encode()),
            field(b":scheme", b"http"),
            field(b":path", path.encode()),
            field(b":authority", b"test"),
            *(GRPC_FIELDS if method == "POST" else []),
            *more,
        ]
    )
    return frame(HEADERS, END_HEADERS | (END_STREAM if ends else 0), stream, block)


class Peer:
    """One connection, which starts with the HTTP/2 handshake unless `greets` is False."""

    def __init__(self, address: str, *, source: str = "127.0.0.1", greets: bool = True) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), 10, (source, 0))
        if greets:
            self.send(PREFACE, frame(SETTINGS, 0, 0), frame(SETTINGS, ACK, 0))

    def send(self, *frames: bytes) -> None:
        """Send frames in one call of the socket."""
        self.socket.sendall(b"".join(frames))

    def read_frame(self) -> tuple[int, int, bytes]:
        """Return kind, stream and payload of the next frame; raise EOFError at the end."""
        head = self._read(9)
        return head[3], int.from_bytes(head[5:]), self._read(int.from_bytes(head[:3]))

    def _read(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            piece = self.socket.recv(count - len(content))
            if not piece:
                raise EOFError
            content += piece
        return content

    def wait_for_frame(self, kind: int) -> bytes:
        """Return the payload of the next frame of a kind."""
        while True:
            found, _, payload = self.read_frame()
            if found == kind:
                return payload

    def stream_of_next(self, kind: int) -> int:
        """Return the stream of the next frame of a kind."""
        while True:
            found, stream, _ = self.read_frame()
            if found == kind:
                return stream

    def wait_for_end(self, seconds: float) -> None:
        """Read until the server ends the connection."""
        self.socket.settimeout(seconds)
        try:
            while True:
                self.read_frame()
        except (EOFError, ConnectionError):
            return

    def is_open(self) -> bool:
        """Drop received bytes; return whether the server has not yet ended the connection."""
        self.socket.setblocking(False)
        try:
            while self.socket.recv(1 << 16):
                pass
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        return False

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()
