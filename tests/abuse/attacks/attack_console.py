"""Attacks on the console: pages that are not taken, floods of documents, pages of other origins."""

import contextlib
import itertools

from abuse.attacks import attack_http2, wire
from abuse.attacks.attacker import Counts, Target

_PAGE = "/"
_PATHS = (
    _PAGE,
    "/console/figures",
    "/console/models",
    "/console/models/identity/versions/1",
    "/openapi.json",
)
_HOST = "127.0.0.1"
_FOREIGN = (
    {"host": "evil.example"},
    {"host": "127.0.0.1.evil.example"},
    {"host": _HOST, "origin": "http://evil.example"},
    {"host": _HOST, "origin": "null"},
    {"host": _HOST, "sec-fetch-dest": "iframe"},
    {"host": _HOST, "sec-fetch-site": "cross-site"},
)


def zero_window_console(target: Target) -> Counts:
    """Request the page, of over 100 kB, 200 times on each of 60 connections; read nothing."""
    return attack_http2.shut_windows(target, 60, 200, wire.request_fields("GET", _PAGE), b"")


def console_flood(target: Target) -> Counts:
    """Request all documents on 20 connections as fast as they come, ten at a time on each."""
    window = (1 << 31) - 1
    opened = [
        wire.Connection(target.address, values={wire.INITIAL_WINDOW_SIZE: window})
        for _ in range(20)
    ]
    for connection in opened:
        connection.socket.sendall(wire.window_update(window - wire.DEFAULT_WINDOW_BYTES))
    asked = answered = closed = 0
    while target.left() and opened:
        for connection in list(opened):
            try:
                streams = [
                    connection.request(wire.request_fields("GET", path)) for path in 2 * _PATHS
                ]
                asked += len(streams)
                answered += connection.answers(streams, target.until)
                connection.bodies.clear()
            except OSError:
                closed += 1
                opened.remove(connection)
    for connection in opened:
        connection.close()
    return {"asked": asked, "answered": answered, "closed by the server": closed}


def rebinding(target: Target) -> Counts:
    """Ask as a browser would for a page of another origin, under another name, or in a frame."""
    asked = let_in = 0
    for path, headers in itertools.cycle(itertools.product(_PATHS, _FOREIGN)):
        if not target.left() or asked >= 3000:
            break
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"GET {path} HTTP/1.1\r\n{lines}connection: close\r\n\r\n".encode()
        with contextlib.suppress(OSError):
            connection = wire.connect(target.address)
            try:
                connection.sendall(request)
                connection.settimeout(2)
                answer = connection.recv(1 << 12)
                let_in += bool(answer) and not answer.startswith(b"HTTP/1.1 403")
                asked += 1
            finally:
                wire.hang_up(connection)
    return {"requests": asked, "let in": let_in}


ATTACKS = {
    "zero_window_console": zero_window_console,
    "console_flood": console_flood,
    "rebinding": rebinding,
}
