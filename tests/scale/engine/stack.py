"""The stack of deploy/swarm on a Swarm of this machine alone."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from running import containers
from running.containers import run

STACK = "onnx-serving-test"
FOLDER = containers.ROOT / "deploy" / "swarm"
UPDATE_SECONDS = 300


@contextmanager
def swarm() -> Iterator[None]:
    """Make this engine a Swarm of one node, and leave it at the end.

    The test is skipped if the engine belongs to a Swarm already: what runs there is not ours.
    """
    containers.require_engine()
    state = run("docker", "info", "--format={{.Swarm.LocalNodeState}}").stdout.strip()
    if state != "inactive":
        pytest.skip(f"the Docker engine belongs to a Swarm already (its state: {state})")
    run("docker", "swarm", "init", "--advertise-addr=127.0.0.1", "--listen-addr=127.0.0.1")
    try:
        yield
    finally:
        run("docker", "swarm", "leave", "--force")


class Stack:
    """The stack with settings that fit a small machine.

    Attributes:
        address: Envoy's address for gRPC.
    """

    def __init__(self, envoy_image: str, replicas: int) -> None:
        port = containers.free_port()
        self.address = f"127.0.0.1:{port}"
        self._replicas = replicas
        self._environment = {
            "ENVOY_IMAGE": envoy_image,
            "GRPC_PORT": str(port),
            "REST_PORT": str(containers.free_port()),
            "SERVING_REPLICAS": str(replicas),
            "SERVING_CPUS": "1",
            "SERVING_RESERVED_CPUS": "0.1",
            "SERVING_HEALTHCHECK_MODELS": "identity",
            "SERVING_START_PERIOD": "30s",
        }

    def deploy(self, image: str, models_dir: Path | None = None) -> None:
        """Deploy the stack, or update it, without waiting for it.

        Args:
            image: The server's image.
            models_dir: Folder of the models; None if they are in the image.
        """
        command = ["docker", "stack", "deploy", "--resolve-image=never"]
        files = [f"--compose-file={FOLDER / 'stack.yaml'}"]
        environment = self._environment | {"SERVING_IMAGE": image}
        if models_dir is not None:
            files.append(f"--compose-file={FOLDER / 'models-folder.yaml'}")
            environment["MODELS_DIR"] = str(models_dir)
        run(*command, *files, STACK, env=environment)

    def wait_until_running(self) -> None:
        """Wait until all replicas and Envoy run, which means that they are healthy."""
        expected = {f"{STACK}_serving": self._replicas, f"{STACK}_envoy": 1}
        give_up_at = time.monotonic() + UPDATE_SECONDS
        while (running := self._running()) != expected:
            assert time.monotonic() < give_up_at, f"{running}\n{self.tasks()}"
            time.sleep(1)

    def wait_for_update(self, state: str) -> None:
        """Wait until the update of the replicas has ended, which must be in this state."""
        give_up_at = time.monotonic() + UPDATE_SECONDS
        while (found := self._update_state()) in {"", "updating", "rollback_started"}:
            assert time.monotonic() < give_up_at, f"{found}\n{self.tasks()}"
            time.sleep(1)
        assert found == state, self.tasks()

    def tasks(self) -> str:
        """Return the table of all tasks, ended ones too, with their errors."""
        return run("docker", "stack", "ps", "--no-trunc", STACK).stdout

    def remove(self) -> None:
        """Remove the stack, and wait until its containers have ended."""
        run("docker", "stack", "rm", STACK)
        label = f"--filter=label=com.docker.stack.namespace={STACK}"
        give_up_at = time.monotonic() + UPDATE_SECONDS
        while run("docker", "ps", "--all", "--quiet", label).stdout:
            assert time.monotonic() < give_up_at
            time.sleep(1)

    def _running(self) -> dict[str, int]:
        listed = run("docker", "stack", "services", STACK, "--format={{.Name}} {{.Replicas}}")
        lines = [line.split() for line in listed.stdout.splitlines()]
        return {line[0]: int(line[1].split("/")[0]) for line in lines}

    def _update_state(self) -> str:
        template = "{{json .UpdateStatus}}"
        found = run("docker", "service", "inspect", f"{STACK}_serving", f"--format={template}")
        status = json.loads(found.stdout)
        return status["State"] if status else ""
