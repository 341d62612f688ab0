import socket
import ssl
import subprocess
import sys
from pathlib import Path

import certificates
import grpc
import numpy as np
import pytest
from google.protobuf import text_format

from serving.client import PredictClient, PredictError
from serving.protos.tfs_config_pb2 import SSLConfig
from serving.transport import tls

ONES = np.ones((1, 3), np.float32)


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> certificates.Authority:
    """Whom servers and clients trust."""
    return certificates.Authority(tmp_path_factory.mktemp("certificates") / "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> certificates.Authority:
    """Whom nobody trusts."""
    return certificates.Authority(tmp_path_factory.mktemp("certificates") / "strange", "stranger")


@pytest.fixture(scope="module")
def server_pair(authority) -> certificates.Pair:
    """What the server proves itself with."""
    return authority.issue("server")


def write(folder: Path, **fields) -> Path:
    path = folder / "ssl.config"
    path.write_text(text_format.MessageToString(SSLConfig(**fields)))
    return path


@pytest.fixture(scope="module", params=["asgi", "grpcio"])
def front(request) -> str:
    """Each of the fronts."""
    return request.param


@pytest.fixture(scope="module", params=[False, True], ids=["tls", "mtls"])
def mutual(request) -> bool:
    """Whether clients must show a certificate."""
    return request.param


@pytest.fixture(scope="module")
def target(front, mutual, models_dir, authority, server_pair, tmp_path_factory, running_server):  # noqa: PLR0917 - fixtures
    """Address of a server with TLS."""
    path = write(
        tmp_path_factory.mktemp("config"),
        server_key=server_pair.key,
        server_cert=server_pair.certificate,
        custom_ca=authority.certificate,
        client_verify=mutual,
    )
    with running_server(models_dir, ssl_config_file=path, front=front) as address:
        yield address


def ask(target: str, credentials: grpc.ChannelCredentials | None) -> list | str:
    """The answer to a prediction, or the code that it failed with."""
    with PredictClient(target, credentials=credentials, timeout=5) as client:
        try:
            return client.predict("identity", {"x": ONES})["y"].tolist()
        except PredictError as error:
            return error.code.name


def credentials(
    trusted: certificates.Authority, own: certificates.Pair | None = None
) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        trusted.certificate.encode(),
        own and own.key.encode(),
        own and own.certificate.encode(),
    )


def test_a_client_with_a_certificate_is_answered(target, authority):
    """Both sides know each other; without client_verify the certificate is not asked for."""
    answer = ask(target, credentials(authority, authority.issue("client")))

    assert answer == [[1, 1, 1]]


def test_a_client_without_a_certificate_is_refused_if_it_needs_one(target, mutual, authority):
    """client_verify makes the difference."""
    answer = ask(target, credentials(authority))

    assert answer == ("UNAVAILABLE" if mutual else [[1, 1, 1]])


def test_the_healthcheck_command_speaks_tls(target, mutual, authority, tmp_path):
    """A container with TLS can be probed, with a certificate of its own where one is needed."""
    own = authority.issue("probe")
    files = {"ca": authority.certificate, "cert": own.certificate, "key": own.key}
    flags = {}
    for name, content in files.items():
        path = tmp_path / f"{name}.pem"
        path.write_text(content)
        flags[name] = [f"--{name}", str(path)]
    probe = [sys.executable, "-m", "serving.healthcheck", target, *flags["ca"]]

    known = subprocess.run([*probe, *flags["cert"], *flags["key"]], timeout=60, check=False)
    unknown = subprocess.run(probe, timeout=60, check=False, capture_output=True)

    assert known.returncode == 0
    assert unknown.returncode == int(mutual)


def test_a_strangers_certificate_is_refused(target, mutual, authority, stranger):
    """A certificate counts only if custom_ca has signed it."""
    answer = ask(target, credentials(authority, stranger.issue("client")))

    assert answer == ("UNAVAILABLE" if mutual else [[1, 1, 1]])


def test_plain_text_is_refused(target):
    """The port speaks TLS alone."""
    assert ask(target, None) in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


def test_the_server_proves_itself(target, stranger):
    """A client that trusts somebody else does not talk to it."""
    assert ask(target, credentials(stranger)) == "UNAVAILABLE"


def test_the_rest_port_has_tls_too(  # noqa: PLR0917 - fixtures
    front, models_dir, authority, server_pair, tmp_path, running_server
):
    """Without it the REST port would be a way around the certificates."""
    path = write(tmp_path, server_key=server_pair.key, server_cert=server_pair.certificate)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context = ssl.create_default_context(cadata=authority.certificate)
    with (
        running_server(models_dir, ssl_config_file=path, front=front, rest_api_port=port),
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as secure,
    ):
        secure.sendall(b"GET /nowhere HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        answer = secure.recv(100)

    assert answer.startswith(b"HTTP/1.1 404")


def test_the_key_is_on_no_disk(server_pair):
    """The files exist in memory, for as long as they are used."""
    config = tls.TlsConfig(
        certificate=server_pair.certificate.encode(), key=server_pair.key.encode()
    )
    with tls.pem_files(config) as files:
        content = files.key.read_bytes()
        place = str(files.key.readlink())

    assert content == config.key
    assert place.startswith("/memfd:")
    assert server_pair.key.splitlines()[1] not in repr(config)
