"""The image's own health check on a server with TLS, on a real Docker engine."""

import time
from pathlib import Path

import certificates
import numpy as np
import pytest
from google.protobuf import text_format
from running import containers
from running.containers import build, published, run, started, wait_until_healthy
from sample_models import tiny_models

from serving.client import PredictClient, tls_credentials
from serving.protos.tfs_config_pb2 import SSLConfig

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def image() -> str:
    """The server's image."""
    containers.require_engine()
    return build("serving-cpu", "onnx-serving:test", containers.base_image())


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a model, and the certificates of a server and of its callers."""
    tiny_models.identity(tmp_path / "models")
    authority = certificates.Authority(tmp_path / "authority")
    # The certificate is for the host that clients use, which the container does not know.
    server, client = authority.issue("server", host="models.example.com"), authority.issue("probe")
    for name, text in (("ca", authority.certificate), ("cert", client.certificate)):
        (tmp_path / f"{name}.pem").write_text(text)
    (tmp_path / "key.pem").write_text(client.key)
    config = SSLConfig(
        server_key=server.key,
        server_cert=server.certificate,
        custom_ca=authority.certificate,
        client_verify=True,
    )
    (tmp_path / "mutual.txt").write_text(text_format.MessageToString(config))
    config.client_verify = False
    (tmp_path / "tls.txt").write_text(text_format.MessageToString(config))
    run("chmod", "-R", "a+rX", tmp_path)
    return tmp_path


@pytest.mark.parametrize("health_port", ["8502", ""])
@pytest.mark.parametrize("tls", ["tls", "mutual"])
def test_a_server_with_tls_is_healthy_by_its_variables_alone(image, folder, tls, health_port):
    """With and without a health port; mutual TLS without one needs the check's own certificate."""
    variables = [f"--env=SERVING_SSL_CONFIG_FILE=/tls/{tls}.txt"]
    variables.append(f"--env=SERVING_HEALTH_PORT={health_port}")
    if tls == "mutual" and not health_port:
        variables.append("--env=SERVING_HEALTHCHECK_CERT=/tls/cert.pem")
        variables.append("--env=SERVING_HEALTHCHECK_KEY=/tls/key.pem")
    with started(
        *("--publish=127.0.0.1::8500", "--read-only", "--cap-drop=ALL", "--health-interval=1s"),
        f"--volume={folder / 'models'}:/models:ro",
        f"--volume={folder}:/tls:ro",
        *variables,
        image,
    ) as container:
        wait_until_healthy(container, timeout_seconds=60)
        files = [folder / f"{name}.pem" for name in ("ca", "cert", "key")]
        name = [("grpc.ssl_target_name_override", "models.example.com")]
        with PredictClient(
            published(container, 8500), credentials=tls_credentials(*files), options=name
        ) as client:
            outputs = client.predict("identity", {"x": np.array([[1, 2, 3]], np.float32)})

    assert outputs["y"].tolist() == [[1.0, 2.0, 3.0]]


def test_a_check_without_the_certificate_that_the_server_demands_is_unhealthy(image, folder):
    """Mutual TLS without a health port, and without a certificate for the check, is no success."""
    with started(
        *("--read-only", f"--volume={folder / 'models'}:/models:ro", f"--volume={folder}:/tls:ro"),
        *("--env=SERVING_SSL_CONFIG_FILE=/tls/mutual.txt", "--env=SERVING_HEALTH_PORT="),
        image,
    ) as container:
        wait_for_line(container, "ready: identity")
        check = run("docker", "exec", container, "python", "-m", "serving.healthcheck", check=False)

    assert check.returncode == 1
    assert check.stderr.splitlines()[-1].startswith("localhost:8500: ")
    assert "SERVING\n" not in check.stdout


def wait_for_line(container: str, words: str) -> None:
    """Return when the container's log has some words."""
    deadline = time.monotonic() + 60
    while True:
        log = run("docker", "logs", container)
        if words in log.stdout + log.stderr:
            return
        assert time.monotonic() < deadline, log.stderr
        time.sleep(0.5)
