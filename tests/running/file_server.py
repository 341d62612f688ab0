"""A web server of a folder: index pages, ranges of files and ETags, and faults on demand."""

import functools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Fault = Callable[["Handler"], bool]
"""Answers a GET of a file itself and returns True, or returns False to leave it to the server."""


class FileServer(ThreadingHTTPServer):
    """A web server of a folder.

    Attributes:
        folder: The folder.
        faults: Asked in this order at every GET, index pages included; the first that answers wins.
        gets: Path and `range` header of each GET so far.
        ranges: Whether ranges of files are offered.
        pause: Seconds to wait before each 64 KiB of a file.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.folder = folder
        self.faults: list[Fault] = []
        self.gets: list[tuple[str, str | None]] = []
        self.ranges = True
        self.pause = 0.0

    @property
    def url(self) -> str:
        """The address of the folder."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Keep quiet: callers may go away."""


class Handler(SimpleHTTPRequestHandler):
    """Answers one request."""

    server: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        """Answer a GET, or have a fault do it."""
        self.server.gets.append((self.path, self.headers.get("range")))
        if any(fault(self) for fault in self.server.faults):
            return
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            super().do_GET()
        else:
            self._send_file(path, with_body=True)

    def do_HEAD(self) -> None:
        """Answer a HEAD."""
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            super().do_HEAD()
        else:
            self._send_file(path, with_body=False)

    def _send_file(self, path: Path, *, with_body: bool) -> None:
        try:
            content = path.read_bytes()
            changed = path.stat().st_mtime_ns
        except OSError:
            self.send_error(404)
            return
        start, end = self._range(len(content))
        part = content[start:end]
        self.send_response(206 if len(part) < len(content) else 200)
        self.send_header("content-length", str(len(part)))
        self.send_header("etag", f'"{changed:x}"')
        if self.server.ranges:
            self.send_header("accept-ranges", "bytes")
        if len(part) < len(content):
            self.send_header("content-range", f"bytes {start}-{end - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            with suppress(OSError):
                for place in range(0, len(part), 64 << 10):
                    time.sleep(self.server.pause)
                    self.wfile.write(part[place : place + (64 << 10)])

    def _range(self, size: int) -> tuple[int, int]:
        asked = self.headers.get("range")
        if not asked or not self.server.ranges:
            return 0, size
        first, _, last = asked.removeprefix("bytes=").partition("-")
        return int(first), min(int(last) + 1 if last else size, size)


@contextmanager
def file_server(folder: Path) -> Iterator[FileServer]:
    """Serve a folder until the end of the block."""
    with FileServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


# Faults


def first(count: int, fault: Fault, of: str = "") -> Fault:
    """Return a fault that occurs at the first GETs of paths that contain `of`."""
    left = [count]

    def once(handler: Handler) -> bool:
        if of not in handler.path or not left[0]:
            return False
        left[0] -= 1
        return fault(handler)

    return once


def always(fault: Fault, of: str = "") -> Fault:
    """Return a fault that occurs at every GET of paths that contain `of`."""
    return lambda handler: of in handler.path and fault(handler)


def error(status: int) -> Fault:
    """Answer with a status."""

    def answer(handler: Handler) -> bool:
        handler.send_error(status)
        return True

    return answer


def reset(handler: Handler) -> bool:
    """Send half of a file, then reset the connection."""
    content = Path(handler.translate_path(handler.path)).read_bytes()
    handler.send_response(200)
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.wfile.flush()
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()
    handler.close_connection = True
    return True


def truncated(handler: Handler) -> bool:
    """Send a file without its last byte, as if that were all."""
    content = Path(handler.translate_path(handler.path)).read_bytes()[:-1]
    handler.send_response(200)
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
    return True


def altered(handler: Handler) -> bool:
    """Send a file with another last byte."""
    content = bytearray(Path(handler.translate_path(handler.path)).read_bytes())
    content[-1] ^= 1
    handler.send_response(200)
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
    return True


def hanging(seconds: float) -> Fault:
    """Return a fault that sends nothing for a while."""

    def answer(handler: Handler) -> bool:
        time.sleep(seconds)
        handler.close_connection = True
        return True

    return answer
