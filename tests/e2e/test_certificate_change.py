"""Tests of certificates that change while clients call: real servers, real load, real files."""

import contextlib
import http.client
import json
import os
import re
import resource
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import certificates
import grpc
import pytest
from calling import tls_callers
from google.protobuf import text_format
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from running import servers

from serving.client import PredictClient, PredictError
from serving.protos.tfs_config_pb2 import SSLConfig

NEW_CERTIFICATE = r"new certificate of the gRPC port: CN=(\S+), valid until \d{4}-\d\d-\d\d"
PAGE = "/monitoring/prometheus/metrics"
EXPIRATION = "onnx_serving_certificate_expiration_timestamp_seconds"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> certificates.Authority:
    """The authority that signs all certificates of the servers."""
    return certificates.Authority(tmp_path_factory.mktemp("certificates") / "authority")


class SslConfigFile:
    """An `ssl_config_file` that is replaced by renaming."""

    def __init__(self, path: Path, authority: certificates.Authority) -> None:
        self.path = path
        self._authority = authority

    def write(self, name: str, *, mutual: bool = False, days: int = 2) -> None:
        """Write a new certificate for a server of this name."""
        pair = self._authority.issue(name, days=days)
        config = SSLConfig(
            server_key=pair.key,
            server_cert=pair.certificate,
            client_verify=mutual,
            custom_ca=self._authority.certificate,
        )
        self.replace(text_format.MessageToString(config))

    def replace(self, text: str) -> None:
        """Write another text."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.path)


@pytest.fixture
def file(tmp_path, authority) -> SslConfigFile:
    """The file of a server whose certificate is for `first`."""
    file = SslConfigFile(tmp_path / "tls.config", authority)
    file.write("first")
    return file


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextlib.contextmanager
def serving(
    models_dir: Path, file: SslConfigFile, authority: certificates.Authority, *flags: str
) -> Iterator[tuple[servers.ServerProcess, tls_callers.TlsCallers]]:
    """Start a server whose ports both have TLS; yield it with callers for it."""
    port, rest = free_port(), free_port()
    with servers.as_process(
        *("--models_dir", str(models_dir), "--port", str(port), "--rest_api_port", str(rest)),
        *("--ssl_config_file", str(file.path), "--rest_api_ssl_config_file", str(file.path)),
        *flags,
    ) as server:
        server.wait_for("ready: ")
        yield (
            server,
            tls_callers.TlsCallers(f"127.0.0.1:{port}", f"127.0.0.1:{rest}", authority.certificate),
        )


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait until something has happened; the time limit of the test ends the wait."""
    while not happened():
        time.sleep(0.05)


def check_change(models_dir, file, authority, *flags: str, calls: int, changes: int) -> None:
    """Change a certificate while many clients call; no call may fail."""
    with (
        serving(models_dir, file, authority, *flags) as (server, callers),
        callers.calling() as outcome,
    ):
        for number in range(1, changes + 1):
            wait_until(lambda share=number / (changes + 1): outcome.total > share * calls)
            file.write(f"server{number}")
            logged = server.wait_for(NEW_CERTIFICATE)[1]
            seen = {
                tls_callers.subject(address, authority.certificate)
                for address in (callers.rpc, callers.rest)
                for _ in range(4)
            }

            assert logged == f"server{number}"
            assert seen == {f"server{number}"}
        wait_until(lambda: outcome.total >= calls)

    assert outcome.failures == []
    assert min(outcome.answered.values()) > 0
    assert len(outcome.answered) == 8


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_no_call_fails_while_the_certificate_changes(models_dir, file, authority, front):
    """A changed certificate is shown to new connections, and no call of any client fails."""
    check_change(models_dir, file, authority, "--front", front, calls=2000, changes=2)


@pytest.mark.slow
def test_no_call_fails_in_many_changes(models_dir, file, authority):
    """Ten changes of the certificate lose none of 10,000 calls."""
    check_change(models_dir, file, authority, calls=10_000, changes=10)


def test_kubernetes_way_to_change_a_file_is_noticed(models_dir, tmp_path, authority):
    """A folder of files is swapped through a link, as Kubernetes does with a mounted secret."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        SslConfigFile(tmp_path / name / "tls.config", authority).write(name)
        os.utime(tmp_path / name / "tls.config", (0, 0))  # equal times of modification
    current = tmp_path / "..data"
    current.symlink_to("first")
    (tmp_path / "tls.config").symlink_to("..data/tls.config")
    file = SslConfigFile(tmp_path / "tls.config", authority)
    with serving(models_dir, file, authority) as (server, callers):
        before = tls_callers.subject(callers.rpc, authority.certificate)
        (tmp_path / "..new").symlink_to("second")
        (tmp_path / "..new").replace(current)
        server.wait_for(NEW_CERTIFICATE)
        after = tls_callers.subject(callers.rpc, authority.certificate)

    assert (before, after) == ("first", "second")


def test_every_worker_shows_the_new_certificate(models_dir, file, authority):
    """With --workers, each worker reads its files again, and new connections see it everywhere."""
    with (
        serving(models_dir, file, authority, "--workers", "2") as (server, callers),
        callers.calling() as outcome,
    ):
        wait_until(lambda: outcome.total > 100)
        file.write("second")
        server.wait_for(NEW_CERTIFICATE)
        server.wait_for(NEW_CERTIFICATE)
        seen = {tls_callers.subject(callers.rpc, authority.certificate) for _ in range(20)}

    assert seen == {"second"}
    assert outcome.failures == []


@pytest.mark.parametrize(
    ("front", "text"),
    [
        ("asgi", "not a proto"),
        ("grpcio", None),
        *(
            pytest.param(front, text, marks=pytest.mark.slow)  # each takes 7 s
            for front, text in (
                ("asgi", None),
                ("asgi", ""),
                ("asgi", "server_key: 'no key' server_cert: 'no certificate'"),
                ("grpcio", ""),
                ("grpcio", "not a proto"),
                ("grpcio", "server_key: 'no key' server_cert: 'no certificate'"),
            )
        ),
    ],
)
def test_a_broken_file_keeps_the_old_certificate(models_dir, file, authority, front, text):
    """Files that cannot be used are logged once and counted; the old certificate stays in use.

    When the file is good again, its certificate is used.
    """
    with serving(models_dir, file, authority, "--front", front) as (server, callers):
        if text is None:
            file.path.unlink()
        else:
            file.replace(text)
        complaint = server.wait_for("the certificates read before stay in use")
        wait_until(lambda: failures(tls_callers.get(callers.rest, PAGE, authority.certificate)) > 3)
        kept = tls_callers.subject(callers.rpc, authority.certificate)
        file.write("second")
        repaired = server.wait_for(NEW_CERTIFICATE)[1]

    assert str(file.path) in complaint.string
    assert kept == "first"
    assert repaired == "second"
    assert sum("stay in use" in line for line in server.log) == 1


def failures(page: str) -> float:
    """Return the number of failed checks on a metrics page."""
    (line,) = [
        line
        for line in page.splitlines()
        if line.startswith("onnx_serving_certificate_reload_failures_total")
    ]
    return float(line.split()[-1])


def test_calls_in_flight_are_answered(models_dir, file, authority):
    """A request whose body is half sent, and an open stream, go on after the change."""
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    questions: Queue[object] = Queue()
    body = b'{"instances": [[1, 1, 1]]}'
    with serving(models_dir, file, authority) as (server, callers):
        host, _, port = callers.rest.rpartition(":")
        context = ssl.create_default_context(cadata=authority.certificate)
        credentials = grpc.ssl_channel_credentials(authority.certificate.encode())
        with (
            contextlib.closing(
                http.client.HTTPSConnection(host, int(port), timeout=60, context=context)
            ) as connection,
            grpc.secure_channel(callers.rpc, credentials) as channel,
        ):
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            answers = stub.ServerReflectionInfo(iter(questions.get, None), timeout=60)
            questions.put(question)
            before = next(answers)
            connection.putrequest("POST", "/v1/models/identity:predict")
            connection.putheader("content-length", str(len(body)))
            connection.endheaders(body[:10])
            file.write("second")
            server.wait_for(NEW_CERTIFICATE)
            questions.put(question)
            after = next(answers)
            questions.put(None)
            connection.send(body[10:])
            response = connection.getresponse()
            answer = response.read()

    assert before == after
    assert (response.status, response.headers["connection"]) == (200, "close")
    assert json.loads(answer) == {"predictions": [[1, 1, 1]]}


def test_each_port_changes_its_own_certificate(models_dir, tmp_path, authority):
    """With a file for each port, a change of one leaves the other port as it is; metrics follow."""
    rpc_file = SslConfigFile(tmp_path / "rpc.config", authority)
    rest_file = SslConfigFile(tmp_path / "rest.config", authority)
    rpc_file.write("rpc")
    rest_file.write("rest")
    flags = ("--rest_api_ssl_config_file", str(rest_file.path))
    with serving(models_dir, rpc_file, authority, *flags) as (server, callers):
        before = expirations(tls_callers.get(callers.rest, PAGE, authority.certificate))
        rest_file.write("rest2", days=300)
        server.wait_for(r"new certificate of the REST port: CN=rest2")
        seen = [
            tls_callers.subject(address, authority.certificate)
            for address in (callers.rpc, callers.rest)
        ]
        after = expirations(tls_callers.get(callers.rest, PAGE, authority.certificate))

    assert seen == ["rpc", "rest2"]
    assert before.keys() == after.keys() == {"grpc", "rest"}
    assert after["grpc"] == before["grpc"]
    assert after["rest"] - before["rest"] > 200 * 86_400
    assert not any("of the gRPC port" in line for line in server.log)


def expirations(page: str) -> dict[str, float]:
    """Return when the certificates expire, by port, from a metrics page."""
    found = re.findall(rf'^{EXPIRATION}{{port="(\w+)"}} (\S+)$', page, re.MULTILINE)
    return {port: float(seconds) for port, seconds in found}


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_clients_of_a_former_authority_are_refused(
    models_dir, tmp_path, authority, front, tmp_path_factory
):
    """After a change of custom_ca, only clients of the new authority can connect."""
    other = certificates.Authority(tmp_path_factory.mktemp("certificates") / "other", "other")
    file = SslConfigFile(tmp_path / "tls.config", authority)
    file.write("first", mutual=True)
    server_pair = authority.issue("second")
    clients = {name: one.issue("client") for name, one in (("old", authority), ("new", other))}

    def serves(address: str, name: str) -> bool:
        pair = clients[name]
        credentials = grpc.ssl_channel_credentials(
            authority.certificate.encode(), pair.key.encode(), pair.certificate.encode()
        )
        options = [("grpc.use_local_subchannel_pool", 1)]
        with PredictClient(address, credentials=credentials, timeout=10, options=options) as client:
            try:
                return client.is_serving()
            except PredictError:
                return False

    port = free_port()
    flags = ("--port", str(port), "--ssl_config_file", str(file.path), "--front", front)
    with servers.as_process("--models_dir", str(models_dir), *flags) as server:
        server.wait_for("ready: ")
        address = f"127.0.0.1:{port}"
        before = [serves(address, "old"), serves(address, "new")]
        config = SSLConfig(
            server_key=server_pair.key,
            server_cert=server_pair.certificate,
            client_verify=True,
            custom_ca=other.certificate,
        )
        file.replace(text_format.MessageToString(config))
        server.wait_for(NEW_CERTIFICATE)
        after = [serves(address, "old"), serves(address, "new")]

    assert before == [True, False]
    assert after == [False, True]


def test_a_web_server_that_ends_comes_back_with_the_new_certificate(models_dir, file, authority):
    """After a change, the new web server is the one that is started again when it ends."""
    with serving(models_dir, file, authority) as (server, callers):
        file.write("second")
        server.wait_for(NEW_CERTIFICATE)
        pid = server.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, hard))  # `accept` fails
        host, _, port = callers.rpc.rpartition(":")
        with contextlib.suppress(OSError):
            socket.create_connection((host, int(port))).close()
        server.wait_for("the web server ended by itself")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        seen = ""
        while not seen:
            with contextlib.suppress(OSError):
                seen = tls_callers.subject(callers.rpc, authority.certificate)
            time.sleep(0.1)

    assert seen == "second"
