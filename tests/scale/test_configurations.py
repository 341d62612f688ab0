"""Tests that the balancers take the configurations of deploy/, and that these do what they say."""

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from calling.rest_client import Http
from certificates import Authority
from running import servers
from sample_models import tiny_models
from scale.balancers import (
    DEPLOY,
    ENVOY,
    HAPROXY,
    MISSING_ENVOY,
    MISSING_HAPROXY,
    envoy,
    haproxy,
)
from scale.replicas import two_replicas

from serving.client import PredictClient, PredictError

ROW = np.array([[1, 2, 3]], np.float32)
needs_envoy = pytest.mark.skipif(not ENVOY.exists(), reason=MISSING_ENVOY)
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason=MISSING_HAPROXY)
BALANCERS = [
    pytest.param(envoy, marks=needs_envoy),
    pytest.param(haproxy, marks=needs_haproxy),
]


def http_settings(file: str) -> dict:
    """Return the HTTP settings of a file's first listener."""
    listeners = yaml.safe_load((DEPLOY / "envoy" / file).read_text())["static_resources"]
    return listeners["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def validate(*arguments: str) -> subprocess.CompletedProcess:
    """Let Envoy check its configuration."""
    command = [str(ENVOY), "--mode", "validate", "-c", str(DEPLOY / "envoy" / "envoy.yaml")]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


@needs_envoy
def test_envoy_takes_its_configuration():
    """Envoy finds no error and no deprecated field."""
    found = validate()

    assert found.returncode == 0, found.stderr
    assert "eprecated" not in found.stderr


@needs_envoy
def test_envoy_takes_the_listener_with_tls(tmp_path):
    """The second file adds a listener with a certificate, and the HTTP settings of the first."""
    pair = Authority(tmp_path / "authority").issue("server")
    (tmp_path / "tls.crt").write_text(pair.certificate)
    (tmp_path / "tls.key").write_text(pair.key)
    text = (DEPLOY / "envoy" / "tls.yaml").read_text()
    found = validate("--config-yaml", text.replace("/etc/envoy/tls", str(tmp_path)))

    assert found.returncode == 0, found.stderr
    assert "loading 3 listener(s)" in found.stderr
    assert http_settings("tls.yaml") == http_settings("envoy.yaml")


@needs_haproxy
def test_haproxy_takes_its_configuration():
    """HAProxy warns only of the name of the replicas, which does not exist here."""
    command = [str(HAPROXY), "-c", "-f", str(DEPLOY / "haproxy" / "haproxy.cfg")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    output = found.stdout + found.stderr
    warnings = [line for line in output.splitlines() if "WARNING" in line]

    assert found.returncode == 0, output
    assert [line for line in warnings if "could not resolve address 'serving'" not in line] == []


@pytest.mark.parametrize("balancer", BALANCERS)
def test_the_balancer_passes_on_grpc_and_rest(balancer, tmp_path):
    """Both APIs work through it, with the server's own errors and times."""
    models = tmp_path / "models"
    tiny_models.identity(models)
    with (
        two_replicas(models) as replicas,
        balancer([one.ports for one in replicas], tmp_path, retries=True) as address,
    ):
        with PredictClient(address) as client:
            answer = client.predict("identity", {"x": ROW})
            with pytest.raises(PredictError, match="NOT_FOUND"):
                client.predict("missing", {"x": ROW})
        body = json.dumps({"instances": [[1, 2, 3]]}).encode()
        path = "/v1/models/identity:predict"
        status, headers, text = Http(address).ask("POST", path, body, x_server_timing="1")
        failures = not_found(tmp_path / "envoy.log") if balancer is envoy else []

    assert answer["y"].tolist() == [[1, 2, 3]]
    assert (status, json.loads(text)) == (200, {"predictions": [[1, 2, 3]]})
    assert "total;dur=" in headers["server-timing"]
    if balancer is envoy:
        (failed,) = failures
        assert failed["attempts"] == 1


def not_found(log: Path) -> list[dict]:
    """Return the lines of failed calls once Envoy has written one: it keeps lines for seconds."""
    give_up_at = time.monotonic() + servers.START_SECONDS
    while True:
        lines = log.read_text().splitlines()
        found = [line for line in lines if '"grpc_status":"NotFound"' in line]
        if found or time.monotonic() > give_up_at:
            return [json.loads(line) for line in found]
        time.sleep(0.05)
