"""Tests of WebSockets, and of headers that are small on the wire and large in memory."""

from pathlib import Path

import numpy as np
import pytest
from calling.raw_http2 import HEADERS, Peer, field, request
from calling.rest_client import Http
from running import servers

from serving.client import PredictClient
from serving.transport import admission

PREDICT = "/tensorflow.serving.PredictionService/Predict"
ONES = np.ones((1, 3), np.float32)
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
UPGRADE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec_websocket_version": "13",
    "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
}
# A header that HPACK adds to the connection's table, and the byte that refers to the entry.
LARGE = field(b"x-a", b"v" * 4000, 0x40)
AGAIN = b"\xbe"
MIB = 1 << 20


@pytest.fixture
def server(models_dir):
    with servers.as_process("--models_dir", str(models_dir), "--port", "0") as started:
        started.address = started.wait_for(r"listening on (\S+), ").group(1)
        started.wait_for("ready")
        yield started


def answers(address) -> bool:
    with PredictClient(address, timeout=30, options=OWN_CONNECTION) as client:
        return np.array_equal(client.predict("identity", {"x": ONES})["y"], ONES)


def most_memory(server) -> int:
    """Return the largest resident memory of a server so far (bytes)."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_headers_that_unfold_take_little_memory(server):
    """Requests whose headers decompress to 360 KB each are not held in memory.

    1,270 requests without a body, 90 bytes of headers each, would take 457 MB.
    """
    before = most_memory(server)
    with PredictClient(server.address, timeout=30) as polite:
        polite.predict("identity", {"x": ONES})
        attackers = [Peer(server.address, source=f"127.0.0.{2 + n % 4}") for n in range(10)]
        for attacker in attackers:
            attacker.send(request(1, PREDICT, LARGE))
            attacker.send(*(request(2 * n + 1, PREDICT, AGAIN * 90) for n in range(1, 128)))
        served = answers(server.address)
        polite.predict("identity", {"x": ONES})
        for attacker in attackers:
            attacker.close()

    assert served
    assert most_memory(server) - before < 128 * MIB


def test_larger_headers_are_refused(server):
    """Headers over 16 KiB, decompressed, are answered 431, and the connection goes on."""
    peer = Peer(server.address)
    peer.send(request(1, PREDICT, LARGE))
    peer.send(request(3, PREDICT, AGAIN * 90))
    peer.socket.settimeout(30)
    headers = peer.wait_for_frame(HEADERS)
    peer.send(request(5, "/healthz", method="GET", ends=True))
    more = peer.wait_for_frame(HEADERS)
    peer.close()

    assert b"431" in headers or b"\x68\x03" in headers  # HPACK's Huffman code of 431 begins so
    assert more[:1] == b"\x88"  # HPACK's 200


def test_websockets_are_refused_without_an_error(server):
    """WebSocket requests are answered 403 without a line in the log."""
    lines = len(server.log)
    statuses = [Http(server.address).ask("GET", "/healthz", **UPGRADE)[0] for _ in range(3)]
    served = answers(server.address)

    assert statuses == [403, 403, 403]
    assert served
    assert server.log[lines:] == []


def test_large_headers_share_a_budget(models_dir, running_server, monkeypatch):
    """Headers over the budget are refused, while requests with few headers are answered."""
    monkeypatch.setattr(admission, "_FREE_REQUESTS", 0)
    monkeypatch.setattr(admission, "_MAX_HEADER_BYTES", 13_000)
    with running_server(models_dir) as address, PredictClient(address) as polite:
        polite.predict("identity", {"x": ONES})
        attacker = Peer(address)
        attacker.socket.settimeout(30)
        attacker.send(*(request(2 * n + 1, PREDICT, LARGE) for n in range(8)))
        refused = {attacker.stream_of_next(HEADERS) for _ in range(6)}
        polite.predict("identity", {"x": ONES})
        served = answers(address)
        attacker.close()

    assert len(refused) == 6  # of eight; two fit
    assert served
