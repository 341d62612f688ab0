"""Tests of clients that speak TLS to a port of plain text, and the other way round."""

import asyncio
import signal
import socket
import time

import certificates
import grpc
import numpy as np
import pytest
from running import servers

from serving.client import AsyncPredictClient, PredictClient, PredictError, tls_credentials
from serving.connection import first_answer

INPUTS = {"x": np.ones((1, 3), np.float32)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the certificates of a server and `ssl.config`."""
    folder = tmp_path_factory.mktemp("tls")
    authority = certificates.Authority(folder / "authority")
    pair = authority.issue("server")
    (folder / "ca.pem").write_text(authority.certificate)
    key, certificate = (text.replace("\n", "\\n") for text in (pair.key, pair.certificate))
    (folder / "ssl.config").write_text(f'server_key: "{key}"\nserver_cert: "{certificate}"\n')
    return folder


def failure_of(address: str, credentials, *, asynchronous: bool) -> tuple[PredictError, float]:
    """Call with the default timeout; return the error and the seconds until it came."""

    async def call() -> None:
        async with AsyncPredictClient(address, credentials=credentials) as client:
            await client.predict("identity", INPUTS)

    began = time.monotonic()
    if asynchronous:
        with pytest.raises(PredictError) as caught:
            asyncio.run(call())
    else:
        client = PredictClient(address, credentials=credentials)
        with client, pytest.raises(PredictError) as caught:
            client.predict("identity", INPUTS)
    return caught.value, time.monotonic() - began


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_a_client_with_tls_learns_that_the_port_is_plain_text(
    models_dir, folder, front, asynchronous
):
    """The error says so, long before the timeout of 30 s."""
    credentials = tls_credentials(folder / "ca.pem")
    with servers.in_this_process(models_dir, front=front) as address:
        error, seconds = failure_of(address, credentials, asynchronous=asynchronous)

    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert f"{address} speaks plain text, and the client TLS; leave out" in error.message
    assert seconds < 5


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_a_client_without_tls_learns_that_the_port_has_it(models_dir, folder, front, asynchronous):
    """The error says so and names the way out."""
    settings = {"front": front, "ssl_config_file": folder / "ssl.config"}
    with servers.in_this_process(models_dir, **settings) as address:
        error, seconds = failure_of(address, None, asynchronous=asynchronous)
        with PredictClient(address, credentials=tls_credentials(folder / "ca.pem")) as client:
            answer = client.predict("identity", INPUTS)

    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert f"{address} speaks TLS, and the client plain text; give the client" in error.message
    assert seconds < 5
    assert answer["y"].tolist() == [[1, 1, 1]]


def test_a_unix_socket_is_asked_too(models_dir, folder, tmp_path):
    """The error is the same on a Unix socket."""
    path = tmp_path / "serving.sock"
    credentials = tls_credentials(folder / "ca.pem")
    with servers.in_this_process(models_dir, grpc_socket_path=path):
        error, _ = failure_of(f"unix:{path}", credentials, asynchronous=False)

    assert "speaks plain text, and the client TLS" in error.message


@pytest.mark.parametrize("with_tls", [False, True])
def test_a_silent_server_is_waited_for(folder, with_tls):
    """A port that says nothing is no reason to stop before the timeout."""
    credentials = tls_credentials(folder / "ca.pem") if with_tls else None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        client = PredictClient(address, timeout=3, credentials=credentials)
        with client, pytest.raises(PredictError) as caught:
            client.predict("identity", INPUTS)
        seconds = time.monotonic() - began

    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "speaks" not in caught.value.message
    assert seconds >= 3


def test_an_interrupted_look_at_the_port_leaves_no_connection():
    """Ctrl-C while the client waits for a silent server closes the connection of its look."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(KeyboardInterrupt):
                first_answer._speaks_tls(f"127.0.0.1:{silent.getsockname()[1]}")
            connection, _ = silent.accept()
            with connection:
                connection.settimeout(5)
                while connection.recv(4096):
                    pass  # the client's hello, and then the end
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
