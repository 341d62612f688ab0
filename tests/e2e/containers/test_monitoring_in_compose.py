"""Tests of the Compose profile `monitoring` on a real Docker engine, with Debian's Prometheus.

The public images cannot always be pulled: Prometheus' image is made here, and Grafana is left out.
"""

import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from monitoring.prometheus_process import MISSING, PROMETHEUS, Prometheus
from monitoring.rules_file import ALL
from running.containers import ROOT, free_port, inspect, run

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(PROMETHEUS is None, reason=MISSING),
]
PROMETHEUS_IMAGE = "onnx-serving:test-prometheus"
# As in Prometheus' own image: a user without a name, who owns the volume.
DOCKERFILE = """ARG BASE_IMAGE
FROM $BASE_IMAGE
COPY prometheus /bin/prometheus
RUN install --directory --owner=65534 --group=65534 /prometheus
USER 65534
WORKDIR /prometheus
VOLUME /prometheus
ENTRYPOINT ["/bin/prometheus"]
"""


@pytest.fixture(scope="module")
def prometheus_image(base_image, tmp_path_factory) -> str:
    """An image that starts Debian's Prometheus like the public image starts its own."""
    folder = tmp_path_factory.mktemp("image")
    shutil.copyfile(Path(str(PROMETHEUS)), folder / "prometheus")
    (folder / "prometheus").chmod(0o755)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    run(
        *("docker", "build", "--tag", PROMETHEUS_IMAGE, f"--build-arg=BASE_IMAGE={base_image}"),
        folder,
        timeout_seconds=600,
    )
    return PROMETHEUS_IMAGE


@pytest.fixture(params=["serving", "replica"])
def composed(request, compose, image, prometheus_image) -> Iterator[tuple[Prometheus, str, int]]:
    """Prometheus beside the server, or beside two replicas; its container, and their number."""
    project = f"onnx-serving-test-{secrets.token_hex(4)}"
    port = free_port()
    command = (
        *(*compose, "--project-name", project, "--file", str(ROOT / "compose.yaml")),
        *("--profile", "monitoring", "--profile", "scale"),
    )
    env = {
        "SERVING_IMAGE": image,
        "PROMETHEUS_IMAGE": prometheus_image,
        "PROMETHEUS_PORT": str(port),
        "GRPC_PORT": f"127.0.0.1:{free_port()}",
        "REST_PORT": f"127.0.0.1:{free_port()}",
    }
    count = {"serving": 1, "replica": 2}[request.param]
    up = ("up", "--detach", "--no-build", "--scale", f"{request.param}={count}")
    try:
        run(*command, *up, request.param, "prometheus", env=env, timeout_seconds=120)
        container = run(*command, "ps", "--quiet", "prometheus", env=env).stdout.strip()
        yield Prometheus(f"127.0.0.1:{port}"), container, count
    finally:
        run(*command, "down", "--volumes", "--timeout", "10", env=env, timeout_seconds=120)


def test_prometheus_finds_the_servers_and_reads_the_rules(composed):
    """Prometheus finds each server by DNS, reads its page, and evaluates every rule."""
    prometheus, container, count = composed
    give_up_at = time.monotonic() + 240
    up: list[tuple[dict[str, str], float]] = []
    while len(up) < count and time.monotonic() < give_up_at:
        time.sleep(1)
        try:
            up = prometheus.values('up{job="onnx-serving"} == 1')
        except OSError:  # it is starting
            assert inspect("container", container)["State"]["Running"]
    groups = prometheus.ask("rules")["groups"]

    assert len(up) == count, prometheus.ask("targets")
    assert all(labels["instance"].endswith(":8501") for labels, _ in up)
    assert sum(len(group["rules"]) for group in groups) == len(ALL)


def test_only_this_machine_can_connect_to_prometheus(composed):
    """Its port is published on the loopback address, and its file system is read-only."""
    _, container, _ = composed
    found = inspect("container", container)

    assert {
        binding["HostIp"]
        for bindings in found["NetworkSettings"]["Ports"].values()
        for binding in bindings or ()
    } == {"127.0.0.1"}
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
