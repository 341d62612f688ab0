import subprocess
from pathlib import Path

import certificates
import pytest
from google.protobuf import text_format

from serving.errors import ConfigError
from serving.protos.tfs_config_pb2 import SSLConfig
from serving.settings import tls_file


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> certificates.Authority:
    """The certificate authority that servers and clients trust."""
    return certificates.Authority(tmp_path_factory.mktemp("certificates") / "ours")


@pytest.fixture(scope="module")
def server_pair(authority) -> certificates.Pair:
    """The server's certificate and key."""
    return authority.issue("server")


def write(folder: Path, **fields) -> Path:
    path = folder / "ssl.config"
    path.write_text(text_format.MessageToString(SSLConfig(**fields)))
    return path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"server_key": ""}, "1: server_key is missing; expected it as PEM text"),
        ({"server_cert": ""}, "1: server_cert is missing; expected it as PEM text"),
        ({"client_verify": True}, "3: custom_ca is missing; expected it as PEM text"),
        ({"server_cert": "/etc/cert.pem"}, "2: server_cert and server_key are not a certificate"),
        (
            {"client_verify": True, "custom_ca": "nonsense"},
            "3: custom_ca is not a certificate in PEM",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(server_pair, tmp_path, changes, reason):
    """A wrong TLS file is refused with line and reason; the message shows nothing of the key."""
    fields = {"server_key": server_pair.key, "server_cert": server_pair.certificate} | changes
    path = write(tmp_path, **fields)

    with pytest.raises(ConfigError) as caught:
        tls_file.read(path)

    assert str(caught.value).startswith(f"{path}:{reason}")
    assert server_pair.key.splitlines()[1] not in str(caught.value)


def test_a_key_of_another_certificate_is_refused(authority, server_pair, tmp_path):
    """A key that does not belong to the certificate is refused when the file is read.

    Otherwise the first client's handshake would fail.
    """
    path = write(
        tmp_path, server_key=authority.issue("other").key, server_cert=server_pair.certificate
    )

    with pytest.raises(ConfigError, match="the key that it was made for"):
        tls_file.read(path)


def test_an_encrypted_key_is_refused(server_pair, tmp_path):
    """An encrypted key is refused at once: nobody can type its password at the start."""
    encrypted = subprocess.run(
        ["openssl", "pkey", "-aes256", "-passout", "pass:secret"],
        input=server_pair.key,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    path = write(tmp_path, server_key=encrypted, server_cert=server_pair.certificate)

    with pytest.raises(ConfigError, match="unencrypted key"):
        tls_file.read(path)
