import contextlib
import socket
from pathlib import Path

import grpc
import numpy as np
import pytest
from running import servers

from serving.client import PredictClient
from serving.errors import ConfigError
from serving.settings.config import ServerConfig
from serving.transport.listeners import Listeners, claim, listen_unix


def test_a_port_that_was_stopped_twice_keeps_its_connections():
    """After two calls of `stop_listening` and `listen_again`, connections are accepted and open."""
    opened = Listeners(rpc=[claim("127.0.0.1", 0)])
    with contextlib.closing(opened):
        address = opened.rpc[0].getsockname()
        for _ in range(2):
            opened.stop_listening()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
        opened.listen_again()
        with socket.create_connection(address, timeout=5) as client:
            accepted, _ = opened.rpc[0].accept()
            with accepted:
                accepted.settimeout(0.2)
                with pytest.raises(TimeoutError):  # and not the end of the connection
                    accepted.recv(5)
                client.sendall(b"hello")
                received = accepted.recv(5)
        opened.stop_listening()

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)

    assert received == b"hello"


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_a_unix_socket_answers_beside_the_port(models_dir, tmp_path, running_server, front):
    """--grpc_socket_path answers beside the port and is removed when the server ends."""
    path = tmp_path / "serving.sock"
    with running_server(models_dir, grpc_socket_path=path, front=front) as address:
        serving = []
        for target in (address, f"unix:{path}"):
            with PredictClient(target) as client:
                answer = client.predict("identity", {"x": np.ones((1, 3), np.float32)})
                serving.append(answer["y"].tolist())

    assert serving == [[[1, 1, 1]], [[1, 1, 1]]]
    assert not path.exists()


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_a_dead_servers_socket_is_replaced(models_dir, tmp_path, running_server, front):
    """The Unix socket of a crashed server is replaced by the next server."""
    path = tmp_path / "serving.sock"
    listen_unix(path).close()

    with (
        running_server(models_dir, grpc_socket_path=path, front=front),
        PredictClient(f"unix:{path}") as client,
    ):
        answer = client.predict("identity", {"x": np.ones((1, 3), np.float32)})

    assert answer["y"].tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_a_running_servers_socket_is_not_replaced(models_dir, tmp_path, front):
    """A server whose socket path belongs to a running server ends with code 2 and says so."""
    path = tmp_path / "serving.sock"
    flags = ("--models_dir", str(models_dir), "--port", "0", "--front", front)
    with listen_unix(path) as living:
        with servers.as_process(*flags, "--grpc_socket_path", str(path)) as second:
            second.wait_for(f"error: cannot listen on {path}: another server listens on it")
            code = second.process.wait(30)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            connection, _ = living.accept()
            connection.close()

    assert code == 2


def test_a_server_that_is_too_busy_to_accept_is_alive(tmp_path):
    """A server whose connection queue is full counts as running; its socket path is kept."""
    path = tmp_path / "serving.sock"
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))

        with pytest.raises(ConfigError, match="another server listens on it"):
            listen_unix(path)

    assert path.exists()


def test_a_successors_socket_stays(models_dir, tmp_path, running_server):
    """A server that ends removes the socket that it made, not the one that took its place."""
    path = tmp_path / "serving.sock"
    with running_server(models_dir, grpc_socket_path=path):
        path.unlink()
        successor = listen_unix(path)

    with successor, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_path_that_begins_with_an_at_sign_is_a_file(tmp_path, monkeypatch):
    """A path that begins with "@" is a file, as in TensorFlow Serving.

    gRPC takes abstract sockets under another scheme.
    """
    monkeypatch.chdir(tmp_path)

    with listen_unix(Path("@serving")):
        assert (tmp_path / "@serving").is_socket()


def test_other_files_are_left_alone(tmp_path):
    """A path that names another file is refused, and the file is kept."""
    path = tmp_path / "notes.txt"
    path.write_text("mine")

    with pytest.raises(ConfigError, match="the path exists and is not a socket"):
        listen_unix(path)

    assert path.read_text() == "mine"


def test_nothing_stays_open_when_a_port_is_taken(tmp_path):
    """If a port is taken, the sockets opened before it are closed and the Unix socket removed."""
    path = tmp_path / "serving.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = ServerConfig(
            host="127.0.0.1",
            port=0,
            rest_api_port=taken.getsockname()[1],
            grpc_socket_path=path,
        )
        with pytest.raises(ConfigError, match="choose another --rest_api_port"):
            Listeners.open(config.network())

    assert not path.exists()


def opened(**settings) -> Listeners:
    """Open the sockets of a server on free ports of this machine."""
    return Listeners.open(ServerConfig(host="127.0.0.1", port=0, **settings).network())


def test_callers_are_refused_until_it_listens(tmp_path):
    """Until `listen`, ports are bound and refuse connections; the health port listens at once."""
    path = tmp_path / "serving.sock"
    listeners = opened(health_port=0, grpc_socket_path=path)
    address = listeners.rpc[0].getsockname()
    try:
        socket.create_connection(listeners.health[0].getsockname()).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        assert not path.exists()

        listeners.listen()

        socket.create_connection(address).close()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    finally:
        listeners.close()
        listeners.remove_socket_path()

    assert not path.exists()


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:0", "localhost:0", "unix"])
def test_the_admin_listener_listens_with_the_others(tmp_path, text):
    """The admin address is bound at the start, listens with the ports, and leaves no path."""
    path = tmp_path / "admin.sock"
    listeners = opened(admin_address=f"unix:{path}" if text == "unix" else text)
    (admin,) = listeners.admin
    try:
        if text != "unix":
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(admin.getsockname()[:2])
        listeners.listen()
        with socket.socket(admin.family) as client:
            client.connect(admin.getsockname())
    finally:
        listeners.close()
        listeners.remove_socket_path()

    assert not path.exists()


def test_an_admin_address_that_is_taken_is_named(tmp_path):
    """If the admin address is taken, the message names its flag."""
    path = tmp_path / "admin.sock"
    path.write_text("a file")
    with pytest.raises(ConfigError, match="expected --admin_address to name a path"):
        opened(admin_address=f"unix:{path}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="choose another --admin_address"):
            opened(admin_address=f"127.0.0.1:{port}")


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_that_does_not_listen_yet_is_taken(shared):
    """A second server cannot bind a port that another one holds without listening yet.

    This also holds if the other one's workers share the port.
    """
    with claim("127.0.0.1", 0, shared=shared) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}: Address alrea"):
            claim("127.0.0.1", port)


def test_a_port_can_be_bound_while_old_connections_linger():
    """A port can be bound again while closed connections are in TIME_WAIT, for a minute."""
    listeners = opened()
    address = listeners.rpc[0].getsockname()
    listeners.listen()
    with socket.create_connection(address):
        listeners.rpc[0].setblocking(True)
        connection, _ = listeners.rpc[0].accept()
        connection.close()
    listeners.close()

    claim(*address).close()


def test_another_servers_socket_stays_when_this_one_never_listened(tmp_path):
    """Of two servers with one socket path, the first to listen has it; the other is refused."""
    path = tmp_path / "serving.sock"
    late = opened(grpc_socket_path=path)
    with listen_unix(path):
        with pytest.raises(ConfigError, match="another server listens on it"):
            late.listen()
        late.close()
        late.remove_socket_path()

        assert path.exists()


def test_ipv6_addresses_work(models_dir, running_server):
    """A server on `::` accepts IPv4 and IPv6 connections."""
    with running_server(models_dir, host="::") as target:
        port = target.rpartition(":")[2]
        for host in ("127.0.0.1", "[::1]"):
            with grpc.insecure_channel(f"{host}:{port}") as channel:
                grpc.channel_ready_future(channel).result(timeout=10)
