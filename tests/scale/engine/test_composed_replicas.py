"""Tests of the Compose profile `scale` on a Docker engine: replicas behind Envoy, under load."""

import secrets
import time
from collections.abc import Iterator

import numpy as np
import pytest
from running import containers
from running.containers import free_port, run
from sample_models import tiny_models
from scale.steady_calls import calling

pytestmark = [pytest.mark.scale, pytest.mark.timeout(900)]

RATE = 100
REPLICAS = 4
# Run in a replica: prints its number of answered calls.
COUNT = (
    "import urllib.request as r; page = r.urlopen("
    "'http://localhost:8501/monitoring/prometheus/metrics').read().decode(); "
    "print(sum(float(line.rsplit(' ', 1)[1]) for line in page.splitlines()"
    " if line.startswith(':tensorflow:serving:request_count{')))"
)


class Project:
    """A project of Compose with the profile `scale`."""

    def __init__(self, compose: tuple[str, ...], settings: dict[str, str]) -> None:
        name = f"onnx-serving-test-{secrets.token_hex(4)}"
        self._command = (*compose, "--project-name", name, "--file", "compose.yaml")
        self.port = free_port()
        self.settings = settings | {
            "GRPC_PORT": f"127.0.0.1:{self.port}",
            "REST_PORT": f"127.0.0.1:{free_port()}",
        }

    def run(self, *arguments: str, timeout_seconds: float = 300) -> str:
        """Run a command of Compose; return what it prints."""
        command = (*self._command, "--profile", "scale", *arguments)
        return run(*command, env=self.settings, timeout_seconds=timeout_seconds).stdout

    def replicas(self) -> list[str]:
        """Return the ids of the replicas' containers."""
        return self.run("ps", "--quiet", "replica").split()


@pytest.fixture(scope="module")
def project(server_image, envoy_image, tmp_path_factory) -> Iterator[Project]:
    """Replicas behind Envoy, all of them healthy."""
    models = tmp_path_factory.mktemp("composed") / "models"
    tiny_models.identity(models)
    settings = {
        "SERVING_IMAGE": server_image,
        "ENVOY_IMAGE": envoy_image,
        "MODELS_DIR": str(models),
        "SERVING_INSTANCES": "1",
    }
    made = Project(containers.compose_command(), settings)
    try:
        made.run("up", "--detach", "--no-build", "--scale", f"replica={REPLICAS}", "envoy")
        yield made
    finally:
        made.run("down", "--volumes", "--timeout", "10")


def answered(replicas: list[str]) -> np.ndarray:
    """Return the number of calls that each replica has answered."""
    return np.array(
        [float(run("docker", "exec", one, "python", "-c", COUNT).stdout) for one in replicas]
    )


def test_calls_spread_over_the_replicas(project):
    """Each of four replicas answers between half and twice its share of the calls."""
    replicas = project.replicas()
    time.sleep(5)  # Envoy asks for the name every 2 s
    before = answered(replicas)
    with calling(f"127.0.0.1:{project.port}", rate=RATE) as outcomes:
        time.sleep(20)
    counts = answered(replicas) - before
    print(outcomes, counts)  # noqa: T201 - the figures of the test

    assert len(replicas) == REPLICAS
    assert counts.sum() == outcomes.answered == outcomes.calls
    assert counts.min() > counts.sum() / REPLICAS / 2
    assert counts.max() < counts.sum() / REPLICAS * 2


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_replica_that_ends_loses_no_call(project, how):
    """A replica is stopped or killed under load and started again; every call is answered."""
    replica = project.replicas()[0]
    with calling(f"127.0.0.1:{project.port}", rate=RATE) as outcomes:
        time.sleep(3)
        run("docker", how, replica)
        time.sleep(5)
        run("docker", "start", replica)
        containers.wait_until_healthy(replica, timeout_seconds=120)
        time.sleep(5)
    print(how, outcomes)  # noqa: T201 - the figures of the test

    assert outcomes.lost == {}
    assert outcomes.wrong == 0


def test_more_replicas_take_their_share(project):
    """`--scale replica=N` adds replicas under load, which Envoy finds by the name."""
    with calling(f"127.0.0.1:{project.port}", rate=RATE) as outcomes:
        time.sleep(2)
        known = project.replicas()
        command = ("up", "--detach", "--no-build", "--no-recreate", "--scale")
        project.run(*command, f"replica={REPLICAS + 1}", "envoy")
        (added,) = set(project.replicas()) - set(known)
        containers.wait_until_healthy(added, timeout_seconds=120)
        time.sleep(10)
        counts = answered([added])
    print(outcomes, counts)  # noqa: T201 - the figures of the test

    assert outcomes.lost == {}
    assert outcomes.wrong == 0
    assert counts[0] > 0
