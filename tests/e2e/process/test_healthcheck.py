"""Tests of the health check command: a server and its check share their environment variables."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import certificates
import pytest
from google.protobuf import text_format
from running import servers
from sample_models import tiny_models

from serving.protos.tfs_config_pb2 import SSLConfig


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> certificates.Authority:
    """The authority that signs the certificates of servers and clients."""
    return certificates.Authority(tmp_path_factory.mktemp("certificates") / "authority")


@pytest.fixture
def files(tmp_path, authority) -> dict[str, Path]:
    """Files of a server with TLS, of one with mutual TLS, and of a client."""
    # The server's certificate is for a host that is not the one that the check connects to.
    server, client = authority.issue("server", host="serving.example.com"), authority.issue("probe")
    texts = {"ca": authority.certificate, "cert": client.certificate, "key": client.key}
    for name, mutual in (("tls", False), ("mutual", True)):
        config = SSLConfig(
            server_key=server.key,
            server_cert=server.certificate,
            custom_ca=authority.certificate,
            client_verify=mutual,
        )
        texts[name] = text_format.MessageToString(config)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return {name: tmp_path / name for name in texts}


def check(environment: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    """Run the command as a container does; return its exit code and output."""
    done = subprocess.run(
        [sys.executable, "-m", "serving.healthcheck", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def serving(models_dir: Path, environment: Mapping[str, str]):
    return servers.as_process("--models_dir", str(models_dir), **environment)


def port_of(server: servers.ServerProcess) -> str:
    port = server.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1]
    server.wait_for("ready: ")
    return port


def test_the_health_port_is_probed_without_tls(models_dir, files):
    """With a health port, the check needs no certificate, whatever the other ports demand."""
    environment = {
        "SERVING_PORT": "0",
        "SERVING_HEALTH_PORT": "0",
        "SERVING_SSL_CONFIG_FILE": str(files["mutual"]),
    }
    with serving(models_dir, environment) as server:
        health = server.wait_for(r"health on 127\.0\.0\.1:(\d+)")[1]
        server.wait_for("ready: ")
        result = check(environment | {"SERVING_HEALTH_PORT": health})

    assert result == (0, f"localhost:{health}: SERVING\n")


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_without_a_health_port_the_check_speaks_the_servers_tls(models_dir, files, front):
    """The check trusts the certificate in the server's own file, whatever host it is for."""
    environment = {
        "SERVING_PORT": "0",
        "SERVING_HEALTH_PORT": "",
        "SERVING_SSL_CONFIG_FILE": str(files["tls"]),
        "SERVING_FRONT": front,
    }
    with serving(models_dir, environment) as server:
        port = port_of(server)
        good = check(environment | {"SERVING_PORT": port})
        plain = check({"SERVING_PORT": port, "SERVING_HEALTH_PORT": ""})

    assert good == (0, f"localhost:{port}: SERVING\n")
    assert plain[0] == 1


def test_a_server_with_another_certificate_fails_the_check(models_dir, files, authority):
    """A server that shows another certificate than that of its file is not healthy."""
    pair = authority.issue("another", host="serving.example.com")
    config = SSLConfig(server_key=pair.key, server_cert=pair.certificate)
    files["tls"].with_name("another").write_text(text_format.MessageToString(config))
    environment = {"SERVING_PORT": "0", "SERVING_SSL_CONFIG_FILE": str(files["tls"])}
    with serving(models_dir, environment) as server:
        port = port_of(server)
        wrong = {
            "SERVING_PORT": port,
            "SERVING_SSL_CONFIG_FILE": str(files["tls"].with_name("another")),
        }
        code, output = check(wrong)

    assert code == 1
    assert "UNAVAILABLE" in output


def test_variables_give_the_check_its_client_certificate(models_dir, files):
    """A server that demands client certificates is probed with the certificate of the variables."""
    environment = {
        "SERVING_PORT": "0",
        "SERVING_HEALTH_PORT": "",
        "SERVING_SSL_CONFIG_FILE": str(files["mutual"]),
    }
    certificate = {
        "SERVING_HEALTHCHECK_CERT": str(files["cert"]),
        "SERVING_HEALTHCHECK_KEY": str(files["key"]),
    }
    with serving(models_dir, environment | certificate) as server:
        port = port_of(server)
        environment |= {"SERVING_PORT": port}
        with_certificate = check(environment | certificate)
        without = check(environment)
        half = check(environment | {"SERVING_HEALTHCHECK_CERT": str(files["cert"])})
        elsewhere = check(
            {"SERVING_HEALTHCHECK_CA": str(files["tls"].with_name("ca"))} | certificate,
            f"127.0.0.1:{port}",
        )

    assert with_certificate == (0, f"localhost:{port}: SERVING\n")
    assert without[0] == 1
    assert half == (
        1,
        "error: a client's certificate is given without its key; expected both or neither\n",
    )
    assert elsewhere[0] == 1  # its certificate is for another host


def test_a_tls_file_that_cannot_be_used_is_one_line(files):
    """The check names the file and what is wrong with it."""
    files["tls"].write_text("nonsense")
    code, output = check({"SERVING_PORT": "1", "SERVING_SSL_CONFIG_FILE": str(files["tls"])})

    assert code == 1
    assert output.startswith(f"error: {files['tls']}:1")
    assert output.count("\n") == 1


def test_a_model_without_a_loaded_version_fails_the_check(tmp_path):
    """The check names the model that is broken or missing; without names it passes."""
    tiny_models.identity(tmp_path)
    broken = tmp_path / "broken" / "1" / "model.onnx"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"nonsense")
    environment = {"SERVING_PORT": "0", "SERVING_HEALTH_PORT": "0"}
    with serving(tmp_path, environment) as server:
        health = server.wait_for(r"health on 127\.0\.0\.1:(\d+)")[1]
        server.wait_for("ready: ")
        environment |= {"SERVING_HEALTH_PORT": health}
        whole = check(environment)
        good = check(environment | {"SERVING_HEALTHCHECK_MODELS": "identity"})
        bad = check(environment | {"SERVING_HEALTHCHECK_MODELS": "identity,broken"})
        missing = check(environment, "--models=missing")

    assert whole == good == (0, f"localhost:{health}: SERVING\n")
    assert bad == (1, f"localhost:{health}: broken: NOT_SERVING\n")
    assert missing[0] == 1
    assert "'missing'" in missing[1]
