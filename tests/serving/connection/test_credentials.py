import certificates
import grpc
import numpy as np
import pytest
from google.protobuf import text_format

from serving.client import PredictClient, PredictError, tls_credentials
from serving.connection.credentials import call_metadata
from serving.protos.tfs_config_pb2 import SSLConfig

ONES = np.ones((1, 3), np.float32)


def test_an_api_key_is_a_bearer_token():
    """The key is sent as `authorization: Bearer KEY`, before further metadata in lower case."""
    assert call_metadata("secret", [("X-Team", "blue")]) == (
        ("authorization", "Bearer secret"),
        ("x-team", "blue"),
    )
    assert call_metadata(None) == ()


@pytest.mark.parametrize(
    ("key", "pair"),
    [
        ("se\ncret", ("a", "b")),
        ("secrét", ("a", "b")),
        ("k", ("a b", "secret")),
        ("k", ("", "secret")),
    ],
)
def test_metadata_that_cannot_be_sent_is_refused_without_its_value(key, pair):
    """A name or value that gRPC cannot send is a ValueError that does not show the value."""
    with pytest.raises(ValueError, match=r"expected letters|printable ASCII") as caught:
        call_metadata(key, [pair])

    assert "secret" not in str(caught.value)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("files", [("ca", "cert", None), ("ca", None, "key")])
def test_certificate_and_key_come_together(tmp_path, files):
    """A client's certificate without its key, or the reverse, is a ValueError."""
    paths = [None if name is None else tmp_path / name for name in files]

    with pytest.raises(ValueError, match="expected both or neither"):
        tls_credentials(*paths)


def test_the_files_open_a_port_with_mutual_tls(models_dir, running_server, tmp_path):
    """With its certificate a client is answered, without it it is not; paths may be texts."""
    authority = certificates.Authority(tmp_path / "authority")
    server, own = authority.issue("server"), authority.issue("client")
    config = SSLConfig(
        server_key=server.key,
        server_cert=server.certificate,
        custom_ca=authority.certificate,
        client_verify=True,
    )
    (tmp_path / "tls.config").write_text(text_format.MessageToString(config))
    for name, text in (("ca", authority.certificate), ("cert", own.certificate), ("key", own.key)):
        (tmp_path / name).write_text(text)
    ca, cert, key = (str(tmp_path / name) for name in ("ca", "cert", "key"))
    with running_server(models_dir, ssl_config_file=tmp_path / "tls.config") as target:
        with PredictClient(target, credentials=tls_credentials(ca, cert, key)) as client:
            answer = client.predict("identity", {"x": ONES})["y"].tolist()
        with (
            PredictClient(target, credentials=tls_credentials(ca), timeout=5) as stranger,
            pytest.raises(PredictError) as refused,
        ):
            stranger.predict("identity", {"x": ONES})

    assert answer == [[1, 1, 1]]
    assert refused.value.code is grpc.StatusCode.UNAVAILABLE
