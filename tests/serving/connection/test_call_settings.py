"""Tests of the settings of one call: timeout, metadata, compression, wait_for_ready."""

import asyncio
import contextlib
import inspect
import math
import socket
import threading
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from running import servers
from running.refusing_server import refusing

from serving.client import AsyncPredictClient, PredictClient, PredictError

INPUTS = {"x": np.ones((1, 3), np.float32)}
KINDS = [PredictClient, AsyncPredictClient]


def call_all(kind, address: str, client_settings, call_settings) -> list[PredictError]:
    """Call every method once; return the errors."""
    errors = []

    async def settle(value):
        return await value if inspect.isawaitable(value) else value

    async def run() -> None:
        client = kind(address, **client_settings)
        for call in (
            lambda: client.predict("m", INPUTS, **call_settings),
            lambda: client.classify("m", [b"png"], **call_settings),
            lambda: client.signatures("m", **call_settings),
            lambda: client.statuses("m", **call_settings),
            lambda: client.is_serving(**call_settings),
        ):
            with pytest.raises(PredictError) as caught:
                await settle(call())
            errors.append(caught.value)
        await settle(client.close())

    asyncio.run(run())
    return errors


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_takes_metadata(kind):
    """A call's metadata is sent after the client's own, by every method."""
    refusals = [grpc.StatusCode.NOT_FOUND] * 5
    with refusing(*refusals) as server:
        call_all(kind, server.address, {"api_key": "k"}, {"metadata": [("X-Team", "blue")]})

    assert len(server.received) == 5
    for metadata in server.received:
        assert metadata["authorization"] == "Bearer k"
        assert metadata["x-team"] == "blue"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of_client", [None, math.inf, 500])
def test_every_method_takes_a_timeout(kind, of_client):
    """Each method sends the call's timeout, or else the client's; None and inf are no timeout."""
    refusals = [grpc.StatusCode.NOT_FOUND] * 10
    with refusing(*refusals) as server:
        call_all(kind, server.address, {"timeout": of_client}, {"timeout": 50})
        call_all(kind, server.address, {"timeout": of_client}, {})

    assert len(server.seconds_left) == 10
    assert all(20 < seconds <= 51 for seconds in server.seconds_left[:5])
    expected = (400, 501) if of_client == 500 else (1e6, math.inf)
    assert all(expected[0] < seconds <= expected[1] for seconds in server.seconds_left[5:])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout": math.nan}, "timeout is nan, expected seconds"),
        ({"metadata": [("a b", "c")]}, "metadata has the name 'a b'"),
    ],
)
def test_settings_that_cannot_be_sent_are_refused(target, settings, message):
    """They are a ValueError of the client, or of the call."""
    with pytest.raises(ValueError, match=message):
        PredictClient(target, **settings)
    with PredictClient(target) as client, pytest.raises(ValueError, match=message):
        client.predict("identity", INPUTS, **settings)


def test_an_unknown_setting_is_refused(client):
    """A misspelt setting is a TypeError that names it."""
    with pytest.raises(TypeError, match="timout"):
        client.predict("identity", INPUTS, timout=3)


@contextlib.contextmanager
def counting(address: str) -> Iterator[tuple[str, list[int]]]:
    """Relay connections to a server; yield the relay's address and the sizes of what was sent."""
    host, _, port = address.rpartition(":")
    sizes: list[int] = []
    sockets: list[socket.socket] = []

    def relay(source: socket.socket, sink: socket.socket, counted: list[int]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                counted.append(len(data))
                sink.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listener.accept()
                server = socket.create_connection((host, int(port)))
                sockets.extend((caller, server))
                for ends in ((caller, server, sizes), (server, caller, [])):
                    threading.Thread(target=relay, args=ends, daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}", sizes
    for one in (listener, *sockets):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["client", "call"])
@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_requests_are_compressed(target, kind, place, compression):
    """A request of 120 KB of ones needs less than a tenth on the wire, and has the same answer."""
    ones = np.ones((10_000, 3), np.float32)
    of_client = {"compression": compression} if place == "client" else {}
    of_call = {"compression": compression} if place == "call" else {}

    async def settle(value):
        return await value if inspect.isawaitable(value) else value

    async def ask(address: str):
        client = kind(address, **of_client)
        answer = await settle(client.predict("identity", {"x": ones}, **of_call))
        await settle(client.close())
        return answer

    with counting(target) as (address, sizes):
        answer = asyncio.run(ask(address))

    assert np.array_equal(answer["y"], ones)
    assert sum(sizes) < 12_000


@pytest.mark.parametrize("place", ["client", "call"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_may_wait_for_a_server_that_is_not_there_yet(models_dir, kind, place):
    """The server starts a second after the call, which is then answered."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    of_client = {"wait_for_ready": True} if place == "client" else {}
    of_call = {"wait_for_ready": True} if place == "call" else {}
    answers = []

    async def settle(value):
        return await value if inspect.isawaitable(value) else value

    async def ask() -> None:
        client = kind(f"127.0.0.1:{port}", timeout=60, **of_client)
        answers.append(await settle(client.predict("identity", INPUTS, **of_call)))
        await settle(client.close())

    caller = threading.Thread(target=lambda: asyncio.run(ask()))
    caller.start()
    caller.join(1)
    waited = caller.is_alive()
    with servers.in_this_process(models_dir, port=port):
        caller.join(60)

    assert waited
    assert answers[0]["y"].tolist() == [[1, 1, 1]]


def test_a_call_may_refuse_to_wait():
    """A call's wait_for_ready beats the client's."""
    client = PredictClient("127.0.0.1:1", wait_for_ready=True, timeout=100)
    with client, pytest.raises(PredictError) as caught:
        client.predict("identity", INPUTS, wait_for_ready=False)

    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
