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
    """The certificate authority that servers and clients trust."""
    return certificates.Authority(tmp_path_factory.mktemp("certificates") / "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> certificates.Authority:
    """A certificate authority that neither side trusts."""
    return certificates.Authority(tmp_path_factory.mktemp("certificates") / "strange", "stranger")


@pytest.fixture(scope="module")
def server_pair(authority) -> certificates.Pair:
    """The server's certificate and key."""
    return authority.issue("server")


def write(folder: Path, **fields) -> Path:
    path = folder / "ssl.config"
    path.write_text(text_format.MessageToString(SSLConfig(**fields)))
    return path


@pytest.fixture(scope="module", params=["asgi", "grpcio"])
def front(request) -> str:
    """Each of the two fronts."""
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
    """Return the answer to a prediction, or the name of the code that it failed with."""
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
    """A client with a certificate is answered; without client_verify its certificate is ignored."""
    answer = ask(target, credentials(authority, authority.issue("client")))

    assert answer == [[1, 1, 1]]


def test_a_client_without_a_certificate_is_refused_if_it_needs_one(target, mutual, authority):
    """With client_verify, a client without a certificate is UNAVAILABLE."""
    answer = ask(target, credentials(authority))

    assert answer == ("UNAVAILABLE" if mutual else [[1, 1, 1]])


def test_the_healthcheck_command_speaks_tls(target, mutual, authority, tmp_path):
    """The healthcheck command connects with TLS, with its own certificate where one is required."""
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
    """With client_verify, a certificate that custom_ca has not signed is refused."""
    answer = ask(target, credentials(authority, stranger.issue("client")))

    assert answer == ("UNAVAILABLE" if mutual else [[1, 1, 1]])


def test_plain_text_is_refused(target):
    """A plaintext connection to a port with TLS fails."""
    assert ask(target, None) in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


def test_the_server_proves_itself(target, stranger):
    """A client that trusts another authority refuses the server's certificate."""
    assert ask(target, credentials(stranger)) == "UNAVAILABLE"


def test_grpcio_has_tls_on_a_unix_socket(
    models_dir, authority, server_pair, tmp_path, running_server
):
    """The grpcio front has TLS on the Unix socket, too, as TensorFlow Serving does."""
    socket_path = tmp_path / "serving.sock"
    path = write(tmp_path, server_key=server_pair.key, server_cert=server_pair.certificate)
    settings = {"ssl_config_file": path, "grpc_socket_path": socket_path, "front": "grpcio"}
    with running_server(models_dir, **settings):
        target = f"unix:{socket_path}"
        # A client expects the path as the server's name.
        options = [("grpc.ssl_target_name_override", "localhost")]
        with PredictClient(target, credentials=credentials(authority), options=options) as client:
            secure = client.predict("identity", {"x": ONES})["y"].tolist()
        plain = ask(target, None)

    assert secure == [[1, 1, 1]]
    assert plain in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


def test_the_key_is_on_no_disk(server_pair):
    """The key's file is in memory (memfd), never on a disk, and `repr` does not show the key."""
    config = tls.TlsConfig(
        certificate=server_pair.certificate.encode(), key=server_pair.key.encode()
    )
    with tls.pem_files(config) as files:
        content = files.key.read_bytes()
        place = str(files.key.readlink())

    assert content == config.key
    assert place.startswith("/memfd:")
    assert server_pair.key.splitlines()[1] not in repr(config)
