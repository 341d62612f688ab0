"""Tests of attacks with connections on a real server while other clients use it."""

import contextlib
import resource
import socket
import ssl
import threading
import time
import urllib.request

import certificates
import numpy as np
import pytest
from calling.raw_http2 import GOAWAY, HEADERS, PING, Peer, frame, request
from google.protobuf import text_format
from running import servers

from serving.client import PredictClient, PredictError
from serving.protos.tfs_config_pb2 import SSLConfig
from serving.transport.limits import open_files

ONES = np.ones((1, 3), np.float32)
HEALTH = "/grpc.health.v1.Health"
# By default all channels of a process to one address share a connection.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
# Long enough for any machine; no test asserts how long anything takes.
SECONDS = 30.0


@pytest.fixture(scope="module", autouse=True)
def _many_files():
    """Raise this process's limit of open files, of which each attacker's socket is one."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files.raise_limit()
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def attack():
    """A function that opens connections; they are closed after the test."""
    with contextlib.ExitStack() as stack:

        def connect(address, **options) -> Peer:
            peer = Peer(address, **options)
            stack.callback(peer.close)
            return peer

        yield connect


@contextlib.contextmanager
def soft_limit(files: int):
    """Set the soft limit of open files that processes started in this block inherit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def start(models_dir, *flags):
    return servers.as_process("--models_dir", str(models_dir), "--port", "0", *flags)


def address_of(server) -> str:
    return server.wait_for(r"listening on (\S+), ").group(1)


def answers(client) -> bool:
    return np.array_equal(client.predict("identity", {"x": ONES})["y"], ONES)


def answers_a_newcomer(address) -> bool:
    """Return whether a client that connects now is answered."""
    with PredictClient(address, timeout=SECONDS, options=OWN_CONNECTION) as client:
        return answers(client)


def wait_until(condition) -> bool:
    give_up_at = time.monotonic() + SECONDS
    while time.monotonic() < give_up_at:
        if condition():
            return True
        time.sleep(0.1)
    return False


class Polite:
    """A client that connected before the attack and goes on calling."""

    def __init__(self, address) -> None:
        self.errors: list[PredictError] = []
        self.calls = 0
        self._client = PredictClient(address, timeout=SECONDS, options=OWN_CONNECTION)
        assert answers(self._client)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ending.wait(0.02):
            try:
                self.calls += answers(self._client)
            except PredictError as error:
                self.errors.append(error)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()
        self._client.close()


def test_a_burst_of_connections_keeps_nobody_out(models_dir, attack):
    """With 1,200 idle connections and a soft limit of 1,024 files, other clients are answered."""
    with soft_limit(1024):
        opened = start(models_dir)
        server = opened.__enter__()
    with contextlib.ExitStack() as stack:
        stack.push(opened)
        address = address_of(server)
        server.wait_for("ready")
        with Polite(address) as polite:
            for _ in range(1200):
                attack(address, source="127.0.0.2")
            served = answers_a_newcomer(address)
            calls = polite.calls
            went_on = wait_until(lambda: polite.calls > calls)

        assert served
        assert went_on
        assert polite.errors == []
        assert server.terminate() == 0


def test_one_address_holds_a_quarter_of_the_connections(models_dir, attack):
    """Connections of one address over a quarter of the limit end, those of others stay.

    This also holds for connections that made a request.
    """
    with start(models_dir, "--max_connections", "40") as server:
        address = address_of(server)
        server.wait_for("ready")
        with Polite(address) as polite:
            attackers = [attack(address, source="127.0.0.2") for _ in range(30)]
            for attacker in attackers:
                attacker.send(request(1, "/healthz", method="GET", ends=True))
            are_ten = wait_until(lambda: sum(peer.is_open() for peer in attackers) == 10)
            served = answers_a_newcomer(address)

        assert are_ten
        assert served
        assert polite.errors == []
        server.wait_for("20 over the share of 127.0.0.2")


def test_a_trusted_proxy_holds_more(models_dir, attack):
    """Connections of an address in --trusted_proxies may exceed that share."""
    flags = ("--max_connections", "40", "--trusted_proxies", "10.0.0.1, 127.0.0.2/32, fd00::/8")
    with start(models_dir, *flags) as server:
        address = address_of(server)
        server.wait_for("ready")
        proxied = [attack(address, source="127.0.0.2") for _ in range(20)]
        others = [attack(address, source="127.0.0.3") for _ in range(20)]
        for peer in (*proxied, *others):
            with contextlib.suppress(ConnectionError):
                peer.send(request(1, f"{HEALTH}/Watch"))  # in flight, so that it is not idle
        ended = wait_until(lambda: not all(peer.is_open() for peer in others))
        stayed = sum(peer.is_open() for peer in proxied)

        assert ended
        assert stayed == 20


def test_connections_of_many_addresses_make_room(models_dir, attack):
    """Idle connections of eight addresses that fill the server end when others want to connect."""
    with start(models_dir, "--max_connections", "32") as server:
        address = address_of(server)
        server.wait_for("ready")
        with Polite(address) as polite:
            for number in range(48):
                attacker = attack(address, source=f"127.0.0.{2 + number % 8}")
                attacker.send(request(1, "/healthz", method="GET", ends=True))
            served = answers_a_newcomer(address)

        assert served
        assert polite.errors == []


def test_two_endpoints_share_the_limit(models_dir, attack, tmp_path):
    """Two endpoints share one connection limit; connections over the common limit end.

    With TLS on one port, each endpoint alone accepts up to the limit.
    """
    port, file, flags = rest_with_tls(tmp_path)
    with start(models_dir, "--max_connections", "16", *flags) as server:
        address = address_of(server)
        server.wait_for("ready")
        streams = [attack(address, source=f"127.0.0.{2 + n % 8}") for n in range(14)]
        for peer in streams:
            peer.send(request(1, f"{HEALTH}/Watch"))  # in flight, so that it is not idle
        with contextlib.ExitStack() as stack:
            for number in range(14):
                uploading = stack.enter_context(
                    socket.create_connection(
                        ("127.0.0.1", port), SECONDS, (f"127.0.0.{2 + number % 8}", 0)
                    )
                )
                secure = stack.enter_context(trusting(file).wrap_socket(uploading))
                secure.sendall(
                    b"POST /v1/models/identity:predict HTTP/1.1\r\nhost: localhost\r\n"
                    b"content-length: 9\r\n\r\n"
                )

            server.wait_for(r"connections closed: .*over the limit of all")


def test_both_endpoints_are_started_again(models_dir, attack, tmp_path):
    """After the web server has ended by itself, both endpoints start again, one with TLS."""
    port, file, flags = rest_with_tls(tmp_path)
    with start(models_dir, *flags) as server:
        address = address_of(server)
        server.wait_for("ready")
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        starve(server, address, attack)
        with contextlib.suppress(OSError):
            attack(f"127.0.0.1:{port}")
        server.wait_for("ended by itself: Too many open files")
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        served = answers_a_newcomer(address)
        url = f"https://127.0.0.1:{port}/healthz"
        with urllib.request.urlopen(url, timeout=SECONDS, context=trusting(file)) as response:
            is_healthy = response.status == 200

        assert served
        assert is_healthy
        assert server.terminate() == 0


def rest_with_tls(folder):
    """Return a free port, the file of the authority to trust, and the flags for REST with TLS."""
    pair = certificates.Authority(folder / "authority").issue("server")
    config = folder / "ssl.config"
    config.write_text(
        text_format.MessageToString(SSLConfig(server_key=pair.key, server_cert=pair.certificate))
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = ("--rest_api_port", str(port), "--rest_api_ssl_config_file", str(config))
    return port, folder / "authority" / "ca.pem", flags


def trusting(authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority)
    context.check_hostname = False
    return context


def test_a_connection_that_never_asks_ends(models_dir, attack):
    """A connection that sends only the HTTP/2 preface ends, also without an idle limit."""
    with start(models_dir, "--idle_connection_seconds", "0") as server:
        address = address_of(server)
        silent, used = attack(address), attack(address)
        used.send(request(1, "/healthz", method="GET", ends=True))
        used.wait_for_frame(HEADERS)

        silent.wait_for_end(SECONDS)
        assert used.is_open()


def test_an_idle_connection_ends(models_dir, attack):
    """An idle connection ends with GOAWAY, also if it sends pings; one with a stream stays."""
    with start(models_dir, "--idle_connection_seconds", "1") as server:
        address = address_of(server)
        server.wait_for("ready")
        idle, pinging, waiting = attack(address), attack(address), attack(address)
        for peer in (idle, pinging):
            peer.send(request(1, "/healthz", method="GET", ends=True))
        waiting.send(request(1, f"{HEALTH}/Watch"), frame(0, 1, 1, b"\0\0\0\0\0"))
        with contextlib.suppress(ConnectionError):
            for _ in range(150):
                pinging.send(frame(PING, 0, 0, b"12345678"))
                time.sleep(0.1 if pinging.is_open() else 0)

        idle.socket.settimeout(SECONDS)
        idle.wait_for_frame(GOAWAY)
        idle.wait_for_end(SECONDS)
        assert not pinging.is_open()
        assert waiting.is_open()


def starve(server, address, attack) -> None:
    """Take the server's file descriptors away until its web server has ended."""
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (8, hard))
    with contextlib.suppress(OSError):
        attack(address)
    server.wait_for("ended by itself: Too many open files")


def test_a_web_server_that_ended_is_started_again(models_dir, attack):
    """A web server that ended by itself is started again on the same port."""
    with start(models_dir) as server:
        address = address_of(server)
        server.wait_for("ready")
        starve(server, address, attack)
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (hard, hard))

        assert answers_a_newcomer(address)
        assert server.terminate() == 0


def test_a_web_server_that_cannot_be_started_again_ends_the_process(models_dir, attack):
    """If the web server cannot be started again, the process logs why and ends with code 1."""
    with start(models_dir) as server:
        address = address_of(server)
        server.wait_for("ready")
        starve(server, address, attack)

        server.wait_for(
            r"CRITICAL .* the web server ended \d+ times in a row: .*Too many open files"
        )
        assert server.process.wait(SECONDS) == 1


def test_health_answers_while_the_ports_are_flooded(models_dir, attack):
    """The health port answers while streams hold every connection of the main port."""
    flags = ("--max_connections", "16", "--health_port", "0", "--idle_connection_seconds", "0")
    with start(models_dir, *flags) as server:
        health = server.wait_for(r"health on (\S+)").group(1)
        address = address_of(server)
        server.wait_for("ready")
        attackers = [attack(address, source=f"127.0.0.{2 + n % 8}") for n in range(24)]
        for attacker in attackers:
            attacker.send(request(1, f"{HEALTH}/Watch"))
        with (
            PredictClient(address, timeout=3.0, options=OWN_CONNECTION) as client,
            pytest.raises(PredictError),
        ):
            answers(client)  # the flood keeps others out
        with PredictClient(health, timeout=SECONDS) as client:
            is_serving = client.is_serving()
        with urllib.request.urlopen(f"http://{health}/readyz", timeout=SECONDS) as response:
            is_ready = response.status == 200

        assert is_serving
        assert is_ready
