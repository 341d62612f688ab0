import asyncio
import contextlib
import socket
import struct
import time

import pytest
from calling import polite_clients

from serving.client import PREDICT_PATH
from serving.protos.tensorflow_serving_pb2 import PredictRequest
from serving.transport.limits.unread_answers import UnreadAnswers

MEBIBYTE = 1 << 20


def test_a_connection_that_reads_nothing_waits():
    """A connection with unread answers waits with its next request; other connections do not."""

    async def scenario():
        unread = UnreadAnswers(25_600)
        unread.add("a", 100)
        await unread.begin("a")
        unread.end("a")
        unread.add("a", 50)
        assert unread.crowded
        await unread.begin("b")
        unread.end("b")
        waiting = asyncio.create_task(unread.begin("a"))
        gone = asyncio.create_task(unread.begin("a"))
        await asyncio.sleep(0)
        gone.cancel()
        assert not waiting.done()
        unread.remove("a", 50)
        await waiting
        unread.end("a")
        unread.remove("a", 100)
        return unread

    unread = asyncio.run(scenario())

    assert unread.total == 0
    assert not unread.crowded
    assert not unread._bytes
    assert not unread._waiting
    assert not unread._begun


def test_requests_under_way_count_as_answers_to_come():
    """Running requests count as answers: a connection gets no more of them than may be unread."""

    async def scenario():
        unread = UnreadAnswers(25_600)
        unread.add("b", 60)
        unread.add("c", 60)
        requests = [asyncio.create_task(unread.begin("a")) for _ in range(5)]
        await asyncio.sleep(0)
        assert [request.done() for request in requests] == [True, True, False, False, False]
        unread.end("a")
        unread.add("a", 10)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sum(request.done() for request in requests) == 3
        for _ in range(2):
            unread.end("a")
        await asyncio.gather(*requests)

    asyncio.run(scenario())


def test_more_connections_have_less_each():
    """With more connections, each may have fewer unread bytes, so that the total is limited.

    One answer for each connection may exceed the limit.
    """

    async def scenario():
        unread = UnreadAnswers(20_000)
        for connection in range(1000):
            unread.add(connection, 6)
        waiting = asyncio.create_task(unread.begin(0))
        await asyncio.sleep(0)
        assert not waiting.done()
        for connection in range(999, 100, -1):
            unread.remove(connection, 6)
        unread.remove(0, 3)
        await waiting

    asyncio.run(scenario())


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


class NeverReads:
    """An HTTP/2 connection whose flow-control window is 0."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self._stream = -1
        no_window = frame(4, 0, 0, struct.pack(">HI", 4, 0))
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + no_window)

    def ask(self, headers: bytes, body: bytes) -> None:
        """Send a request without reading its answer."""
        self._stream += 2
        flags = 4 if body else 5  # END_HEADERS, and END_STREAM without a body
        frames = frame(1, flags, self._stream, headers)
        if body:
            frames += frame(0, 1, self._stream, body)
        with contextlib.suppress(OSError):  # the server may have closed the connection
            self.socket.sendall(frames)


METRICS = b"\x82\x86" + literal(b":path", b"/monitoring/prometheus/metrics")
PREDICT = (
    b"\x83\x86"
    + literal(b":path", PREDICT_PATH.encode())
    + literal(b"content-type", b"application/grpc")
    + literal(b"te", b"trailers")
)


def zeros(rows: int) -> bytes:
    """Return the gRPC frame of a Predict with few bytes and an answer of many bytes."""
    request = PredictRequest()
    request.model_spec.name = "identity"
    request.inputs["x"].dtype = 1
    for size in (rows, 3):
        request.inputs["x"].tensor_shape.dim.add().size = size
    message = request.SerializeToString()
    return b"\0" + len(message).to_bytes(4) + message


@pytest.mark.parametrize(
    ("headers", "body"), [(METRICS, b""), (PREDICT, zeros(10_000))], ids=["metrics", "predict"]
)
def test_unread_answers_do_not_delay_others(models_dir, headers, body):
    """20 connections with 150 unread answers each take bounded memory and delay no other caller."""
    flags = ("--max_buffered_bytes", str(16 * MEBIBYTE), "--max_enqueued_rows", "1000000")
    flags += ("--max_batch_size", "10000")
    with polite_clients.server(models_dir, *flags) as (address, pid):
        before = polite_clients.peak_bytes(pid)
        attackers = [NeverReads(address) for _ in range(20)]
        with polite_clients.beside(address) as polite:
            for _ in range(150):
                for attacker in attackers:
                    attacker.ask(headers, body)
                time.sleep(0.04)
            answered = polite.answered
            while polite.answered < answered + 20 and not polite.errors:
                time.sleep(0.01)
        grown = polite_clients.peak_bytes(pid) - before
        for attacker in attackers:
            attacker.socket.close()

    assert not polite.errors
    assert grown < 150 * MEBIBYTE
