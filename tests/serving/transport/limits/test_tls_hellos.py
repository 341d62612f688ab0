"""Tests of clients that speak TLS to a port of plain text."""

import http.client
import socket
import ssl
import time

import numpy as np
import pytest
from running import servers
from sample_models import tiny_models

from serving.client import PredictClient

CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506)


@pytest.fixture
def process(tmp_path):
    """A server of plain text, and its address."""
    tiny_models.identity(tmp_path)
    with servers.as_process("--models_dir", str(tmp_path), "--port=0") as server:
        yield server, server.wait_for(r"listening on (\S+),").group(1)


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def test_a_client_with_tls_is_told_soon(process):
    """The handshake fails after about a second, and the log says why, in one line for many."""
    server, address = process
    context = ssl.create_default_context()
    began = time.monotonic()
    connections = [connect(address) for _ in range(20)]
    for connection in connections:
        connection.sendall(CLIENT_HELLO)
    with connect(address) as plain, pytest.raises(OSError, match=r"EOF|reset"):
        context.wrap_socket(plain, server_hostname="localhost")
    rest = [connection.recv(1) for connection in connections]
    seconds = time.monotonic() - began
    server.wait_for("connections closed: 2. because their clients spoke TLS to a port of plain")
    for connection in connections:
        connection.close()

    assert rest == [b""] * 20
    assert seconds < 4


def test_data_that_look_like_a_handshake_arrive_in_a_request(process):
    """A request's data may contain, and continue with, the beginning of a handshake."""
    _, address = process
    data = np.frombuffer(CLIENT_HELLO[:8] * 3 * 4096, np.float32).reshape(-1, 3)
    with PredictClient(address, timeout=20) as client:
        first = client.predict("identity", {"x": np.ones((1, 3), np.float32)})["y"]
        time.sleep(2.5)
        answer = client.predict("identity", {"x": data})["y"]
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    time.sleep(2.5)
    connection.sock.sendall(CLIENT_HELLO[:11])  # a segment of its own on a used connection
    connection.sock.sendall(b"\r\n\r\n")
    refusal = connection.sock.recv(100)
    connection.close()

    assert first.tolist() == [[1, 1, 1]]
    assert answer.tobytes() == data.tobytes()
    assert b"400" in refusal or refusal == b""


def test_a_slow_client_of_plain_text_keeps_its_connection(process):
    """A request that arrives in pieces over three seconds is answered."""
    _, address = process
    with connect(address) as connection:
        for piece in (b"GET /healthz", b" HTTP/1.1\r\nhost: x\r\n", b"\r\n"):
            connection.sendall(piece)
            time.sleep(1.5)
        assert b"200" in connection.recv(100)
