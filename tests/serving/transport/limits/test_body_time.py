"""Tests of request bodies that trickle, on a real server."""

import socket
import time

import numpy as np
from calling.raw_http2 import DATA, HEADERS, Peer, frame, request

from serving.client import PredictClient
from serving.transport.limits import body_time

PREDICT = "/tensorflow.serving.PredictionService/Predict"
ONES = np.ones((1, 3), np.float32)
HEAD = b"POST /v1/models/identity:predict HTTP/1.1\r\nhost: test\r\ncontent-length: 100000\r\n\r\n"
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


def trickle(connection: socket.socket, piece: bytes) -> bytes:
    """Send a piece repeatedly; return the first bytes of the answer."""
    for _ in range(600):
        connection.sendall(piece)
        connection.setblocking(False)
        try:
            return connection.recv(1 << 16)
        except BlockingIOError:
            connection.settimeout(10)
            time.sleep(0.05)
    return b""


def test_bodies_that_trickle_are_refused(models_dir, running_server, monkeypatch):
    """A body that arrives byte by byte ends with 504; other requests are answered meanwhile."""
    monkeypatch.setattr(body_time, "_GRACE_SECONDS", 0.5)
    with (
        running_server(models_dir) as address,
        PredictClient(address, options=OWN_CONNECTION) as polite,
    ):
        before = polite.predict("identity", {"x": ONES})["y"]
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as rest:
            rest.sendall(HEAD)
            refusal = trickle(rest, b"[")
        grpc = Peer(address)
        grpc.send(request(1, PREDICT), frame(DATA, 0, 1, b"\0\0\0\xff\xff"))
        for _ in range(3):  # settings, their acknowledgement, the connection's window
            grpc.read_frame()
        answer = trickle(grpc.socket, frame(DATA, 0, 1, b" "))
        grpc.close()
        with PredictClient(address, options=OWN_CONNECTION) as newcomer:
            after = newcomer.predict("identity", {"x": ONES})["y"]

    assert refusal.startswith(b"HTTP/1.1 504 ")
    assert answer[3] == HEADERS
    assert np.array_equal(before, ONES)
    assert np.array_equal(after, ONES)
