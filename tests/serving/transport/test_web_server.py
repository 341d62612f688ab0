"""Tests of which port answers which protocol, with TLS on one port, on both, or different TLS."""

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import certificates
import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from running import servers

from serving.client import PredictClient, PredictError
from serving.protos.tfs_config_pb2 import SSLConfig

ONES = np.ones((1, 3), np.float32)
STATUS = "/v1/models/identity"
METRICS = "/monitoring/prometheus/metrics"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> certificates.Authority:
    """The authority that signed the gRPC port's certificate."""
    return certificates.Authority(tmp_path_factory.mktemp("certificates") / "rpc", "rpc authority")


@pytest.fixture(scope="module")
def rest_authority(tmp_path_factory) -> certificates.Authority:
    """The authority that signed the REST port's certificate."""
    return certificates.Authority(tmp_path_factory.mktemp("certificates") / "rest", "rest")


@pytest.fixture
def ssl_config(tmp_path):
    """A function that writes an SSLConfig and returns its path."""

    def write(authority: certificates.Authority, *, mutual: bool = False) -> Path:
        pair = authority.issue("server")
        config = SSLConfig(
            server_key=pair.key,
            server_cert=pair.certificate,
            custom_ca=authority.certificate,
            client_verify=mutual,
        )
        path = tmp_path / f"{id(authority)}.config"
        path.write_text(text_format.MessageToString(config))
        return path

    return write


@pytest.fixture
def ports(models_dir, running_server):
    """A context manager that starts a server and yields its addresses for gRPC and REST."""

    @contextlib.contextmanager
    def start(**settings: object) -> Iterator[tuple[str, str]]:
        port = free_port()
        with running_server(models_dir, rest_api_port=port, **settings) as address:
            yield address, f"127.0.0.1:{port}"

    return start


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def trusting(
    authority: certificates.Authority, own: certificates.Pair | None = None
) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        authority.certificate.encode(),
        own and own.key.encode(),
        own and own.certificate.encode(),
    )


def predict(target: str, credentials: grpc.ChannelCredentials | None = None) -> object:
    """Return the answer to a prediction over gRPC, or the code and message that it failed with."""
    with PredictClient(target, credentials=credentials, timeout=10) as client:
        try:
            return client.predict("identity", {"x": ONES})["y"].tolist()
        except PredictError as error:
            return error.code.name, str(error)


def get(
    address: str, path: str, authority: certificates.Authority | None = None
) -> tuple[int, bytes]:
    """Return status and body of the answer to a GET."""
    host, _, port = address.rpartition(":")
    if authority is None:
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
    else:
        context = ssl.create_default_context(cadata=authority.certificate)
        connection = http.client.HTTPSConnection(host, int(port), timeout=10, context=context)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mtls"])
def test_ssl_config_file_leaves_the_rest_port_plain(ports, authority, ssl_config, front, mutual):
    """With --ssl_config_file, gRPC has TLS and the REST port is plain, as in TensorFlow Serving.

    A Prometheus scrape of the REST port is plain HTTP, too.
    """
    own = authority.issue("client") if mutual else None
    file = ssl_config(authority, mutual=mutual)
    with ports(ssl_config_file=file, front=front) as (rpc, rest):
        answer = predict(rpc, trusting(authority, own))
        plain_code, _ = predict(rpc)
        status, body = get(rest, STATUS)
        scrape, page = get(rest, METRICS)

    assert answer == ONES.tolist()
    assert plain_code in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert status == 200
    assert json.loads(body)["model_version_status"][0]["state"] == "AVAILABLE"
    assert scrape == 200
    assert b":tensorflow:serving:request_count" in page


@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mtls"])
def test_the_plain_rest_port_is_no_way_around_the_certificates(
    ports, authority, ssl_config, mutual
):
    """The plain REST port answers gRPC with UNIMPLEMENTED and names --port."""
    with ports(ssl_config_file=ssl_config(authority, mutual=mutual)) as (_, rest):
        code, message = predict(rest)

    assert code == "UNIMPLEMENTED"
    assert "this port answers HTTP only" in message
    assert "--port" in message


def test_the_grpc_port_with_tls_still_answers_http(ports, authority, ssl_config):
    """The gRPC port with TLS answers HTTP with TLS, for probes and scrapes."""
    with ports(ssl_config_file=ssl_config(authority)) as (rpc, _):
        status, _ = get(rpc, "/readyz", authority)

    assert status == 200


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_rest_api_ssl_config_file_gives_the_rest_port_tls(ports, authority, ssl_config, front):
    """With --rest_api_ssl_config_file, the REST port has TLS and the gRPC port is plain."""
    with ports(rest_api_ssl_config_file=ssl_config(authority), front=front) as (rpc, rest):
        status, _ = get(rest, STATUS, authority)
        answer = predict(rpc)
        with socket.create_connection(("127.0.0.1", int(rest.rpartition(":")[2])), 10) as raw:
            raw.sendall(f"GET {STATUS} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            plain = raw.recv(100)

    assert status == 200
    assert answer == ONES.tolist()
    assert not plain.startswith(b"HTTP")


def test_the_plain_grpc_port_is_no_way_around_tls_on_the_rest_port(ports, authority, ssl_config):
    """The plain gRPC port answers HTTP with 404 and names --rest_api_port."""
    file = ssl_config(authority, mutual=True)
    with ports(rest_api_ssl_config_file=file) as (rpc, _):
        status, body = get(rpc, METRICS)

    assert status == 404
    assert "send HTTP requests to the port of --rest_api_port" in json.loads(body)["error"]


def test_both_ports_may_have_the_same_tls(ports, authority, ssl_config):
    """If both ports have the same TLS, each port answers gRPC and REST, as without TLS."""
    file = ssl_config(authority)
    with ports(ssl_config_file=file, rest_api_ssl_config_file=file) as (rpc, rest):
        answers = [predict(port, trusting(authority)) for port in (rpc, rest)]
        statuses = [get(port, STATUS, authority)[0] for port in (rpc, rest)]

    assert answers == [ONES.tolist()] * 2
    assert statuses == [200, 200]


def test_each_port_may_have_tls_of_its_own(ports, authority, rest_authority, ssl_config):
    """If the ports have different TLS, each has its own certificate and its own client check."""
    own = authority.issue("client")
    settings = {
        "ssl_config_file": ssl_config(authority, mutual=True),
        "rest_api_ssl_config_file": ssl_config(rest_authority),
    }
    with ports(**settings) as (rpc, rest):
        answer = predict(rpc, trusting(authority, own))
        status, _ = get(rest, STATUS, rest_authority)
        around, _ = predict(rest, trusting(rest_authority))
        with pytest.raises(ssl.SSLCertVerificationError, match="CERTIFICATE_VERIFY_FAILED"):
            get(rest, STATUS, authority)

    assert answer == ONES.tolist()
    assert status == 200
    assert around == "UNIMPLEMENTED"


def test_health_stays_plain_and_alone(models_dir, authority, ssl_config):
    """--health_port is plain whatever TLS the other ports have, and answers only health."""
    file = str(ssl_config(authority, mutual=True))
    flags = ("--ssl_config_file", file, "--rest_api_ssl_config_file", file)
    ports = ("--port", "0", "--health_port", "0", "--rest_api_port", str(free_port()))
    with servers.as_process("--models_dir", str(models_dir), *flags, *ports) as server:
        health = server.wait_for(r"health on (\S+)").group(1)
        server.wait_for("ready")
        with PredictClient(health, timeout=10) as client:
            is_serving = client.is_serving()
        ready, _ = get(health, "/readyz")
        code, _ = predict(health)
        metrics, _ = get(health, METRICS)

    assert is_serving
    assert ready == 200
    assert code == "UNIMPLEMENTED"
    assert metrics == 404


def test_workers_share_the_ports_with_and_without_tls(models_dir, authority, ssl_config):
    """Every worker answers gRPC with TLS on the one port and plain HTTP on the other."""
    rest = f"127.0.0.1:{free_port()}"
    flags = ("--models_dir", str(models_dir), "--port", "0", "--workers", "2")
    more = ("--rest_api_port", rest.rpartition(":")[2])
    file = ("--ssl_config_file", str(ssl_config(authority)))
    with servers.as_process(*flags, *more, *file) as server:
        rpc = server.wait_for(r"listening on (\S+), ").group(1)
        server.wait_for("ready: 2 workers")
        answers = [predict(rpc, trusting(authority)) for _ in range(8)]
        statuses = [get(rest, STATUS)[0] for _ in range(8)]
        code = server.terminate()

    assert answers == [ONES.tolist()] * 8
    assert statuses == [200] * 8
    assert code == 0
