"""Compressed requests and answers, over every transport."""

import asyncio
import contextlib
import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from loadtest.generator.assignment import Assignment
from loadtest.rows.images import LabelledImages
from loadtest.settings.config import PLAIN
from loadtest.transports.catalogue import DISCOVERIES, encode, make_sender
from loadtest.transports.tfs_rest import TfsRest

TRANSPORTS = sorted(DISCOVERIES)
DECOMPRESS = {"gzip": gzip.decompress, "deflate": zlib.decompress}
EMPTY = np.zeros((1, 32, 32, 3), np.uint8)


def answered(transport: str, target: str, compression: str | None, images: np.ndarray):
    """Send images as a run does, and return the answer."""
    connection = replace(PLAIN, compression=compression)

    async def ask():
        api = await DISCOVERIES[transport](
            target, "echo", None, timeout_seconds=30, connection=connection
        )
        sender = make_sender(
            transport,
            target,
            api,
            connections=1,
            timeout_seconds=30,
            connection=connection,
            server_timing=False,
        )
        body = encode(transport, api.payload({"images": images}), connection)
        response = await sender.lane(0)(body)
        await sender.close()
        return api.parse(response, len(images))

    return asyncio.run(ask())


@contextlib.contextmanager
def counting_relay(target: str) -> Iterator[tuple[str, list[int]]]:
    """Pass connections on to a server; yield the address, and the sizes of what clients sent."""
    host, _, port = target.rpartition(":")
    sent: list[int] = []
    threads: list[threading.Thread] = []

    def pump(source: socket.socket, sink: socket.socket, sizes: list[int]) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                sizes.append(len(chunk))
                sink.sendall(chunk)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def start(function: Callable[..., None], *arguments: object) -> None:
        threads.append(threading.Thread(target=function, args=arguments, daemon=True))
        threads[-1].start()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client = closing.enter_context(listener.accept()[0])
                server = closing.enter_context(socket.create_connection((host, int(port))))
                start(pump, client, server, sent)
                start(pump, server, client, [])

    with contextlib.ExitStack() as closing:
        listener = closing.enter_context(socket.create_server(("127.0.0.1", 0)))
        start(accept)
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}", sent
        finally:
            listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_server_reads_compressed_requests(transport, compression, image_target, split):
    """Over every transport, `echo` answers the number drawn into each compressed image."""
    images = split.images[[5, 9]]

    answer = answered(transport, image_target, compression, images)

    assert answer.classes.tolist() == images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_fewer_bytes_are_sent(transport, compression, image_target):
    """A black image takes 3,072 bytes or more on the wire, and a fraction of it compressed."""
    with counting_relay(image_target) as (target, sent):
        answer = answered(transport, target, compression, EMPTY)

    assert answer.classes.tolist() == [0]
    assert (sum(sent) < 2500) == (compression is not None)


@pytest.fixture
def http_server():
    """Address of a server that answers compressed if it may, and the requests that it received."""
    received: list[tuple[dict[str, str], bytes]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            received.append((headers, self.rfile.read(int(headers["content-length"]))))
            content = json.dumps({"predictions": [7]}).encode()
            self.send_response(200)
            if (accepted := headers["accept-encoding"]) == "gzip":
                content = gzip.compress(content)
                self.send_header("content-encoding", accepted)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", received
        server.shutdown()


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_headers_and_bodies_of_rest(http_server, split, compression):
    """The encoding is named, the answer's is asked for and read; without the flag neither is."""
    target, received = http_server
    api = TfsRest("m", None)
    assignment = Assignment(
        target=target,
        transport="tfs-rest",
        api=api,
        batch=1,
        order_seed=0,
        queries=2,
        connections=1,
        timeout_seconds=30,
        connection=replace(PLAIN, compression=compression),
    )
    dataset = LabelledImages(split, None).fit(None, model="m", batch=1)
    bodies = assignment.payloads(dataset)  # as before a run

    async def send() -> bytes:
        sender = assignment.sender(1)
        response = await sender.lane(0)(bodies[0])
        await sender.close()
        return response

    response = asyncio.run(send())
    ((headers, body),) = received
    first = dataset.batch(assignment.known_queries(len(dataset)).image_ids(0))
    expanded = body if compression is None else DECOMPRESS[compression](body)

    assert api.parse(response, 1).classes.tolist() == [7]
    assert body == bodies[0]
    assert expanded == api.payload(first)
    assert headers.get("content-encoding") == compression
    assert headers["accept-encoding"] == (compression or "identity")


def test_equal_images_stay_equal_bytes(split):
    """Compression adds no time or name: the same body has the same bytes."""
    connection = replace(PLAIN, compression="gzip")

    assert encode("tfs-rest", b"body", connection) == encode("tfs-rest", b"body", connection)
    assert encode("tfs-grpc", b"body", connection) == b"body"
