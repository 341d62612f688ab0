"""Docker for tests: run commands, build images as users do, start containers."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLIC_BASE_IMAGE = "python:3.13-slim-bookworm"
LOCAL_BASE_IMAGE = "onnx-serving-base:bookworm"
# Without BuildKit, all other images are built before that of the training.
BUILD_SECONDS = 5400


def run(
    *command: str | Path,
    timeout_seconds: float = 60,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository's root.

    With `check`, an exit status other than 0 fails the test and shows the end of the output.
    """
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        timeout=timeout_seconds,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and result.returncode:
        words = " ".join(map(str, command))
        output = (result.stdout + result.stderr)[-4000:]
        pytest.fail(f"`{words}` exited with {result.returncode}:\n{output}")
    return result


def succeeds(*command: str, timeout_seconds: float = 60) -> bool:
    """Return whether the command exists, ends in time and exits with 0."""
    try:
        return run(*command, timeout_seconds=timeout_seconds, check=False).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def inspect(kind: str, name: str) -> dict:
    return json.loads(run("docker", kind, "inspect", name).stdout)[0]


def wait_until_healthy(container: str, *, timeout_seconds: float) -> None:
    """Poll `docker inspect` until the health check is healthy; fail the test after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while (state := inspect("container", container)["State"])["Health"]["Status"] != "healthy":
        if not state["Running"] or time.monotonic() > deadline:
            logs = run("docker", "logs", "--tail", "50", container)
            pytest.fail(
                f"not healthy within {timeout_seconds:.0f} s: {json.dumps(state, indent=1)}\n"
                f"{logs.stdout}{logs.stderr}"
            )
        time.sleep(0.5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def require_engine() -> None:
    """Skip the test if no Docker engine answers."""
    if not succeeds("docker", "info"):
        pytest.skip("no Docker engine answers `docker info`")


def compose_command() -> tuple[str, ...]:
    """Return the Compose command of this machine; skip the test if there is none."""
    require_engine()
    if succeeds("docker", "compose", "version"):
        return ("docker", "compose")
    if succeeds("docker-compose", "version"):
        return ("docker-compose",)
    pytest.skip("neither `docker compose` nor `docker-compose` is installed")


def base_image() -> str:
    """Return the base image of builds.

    Its name is $BASE_IMAGE if that is set, else the public image's, or that of an image made of
    Debian packages if the public image cannot be pulled.
    """
    if image := os.environ.get("BASE_IMAGE"):
        return image
    if succeeds("docker", "image", "inspect", PUBLIC_BASE_IMAGE) or succeeds(
        "docker", "pull", "--quiet", PUBLIC_BASE_IMAGE, timeout_seconds=300
    ):
        return PUBLIC_BASE_IMAGE
    if not succeeds("docker", "image", "inspect", LOCAL_BASE_IMAGE) and os.geteuid() != 0:
        pytest.skip(
            f"cannot pull {PUBLIC_BASE_IMAGE}; run `sudo deploy/make-base-image.sh`,"
            " or set BASE_IMAGE to an image that this machine has"
        )
    run("deploy/make-base-image.sh", "--tag", LOCAL_BASE_IMAGE, timeout_seconds=900)
    return LOCAL_BASE_IMAGE


def build(target: str, tag: str, base_image: str) -> str:
    """Build an image; return its tag."""
    build_output(target, tag, base_image)
    return tag


def build_output(
    target: str, tag: str, base_image: str, *arguments: str, check: bool = True
) -> str:
    """Build an image with this machine's certificates and pip settings (deploy/README.md).

    Args:
        target: Stage of the Dockerfile.
        tag: Name of the image.
        base_image: Image that the build starts from.
        arguments: More arguments of `docker build`.
        check: Whether a build that fails fails the test.

    Returns:
        What the engine printed, which names the steps, also those that it takes from its cache.
    """
    # PIP_FIND_LINKS is left out: a folder of this machine does not exist inside the build.
    pip_settings = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
    names = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
    bundle = next((os.environ[name] for name in names if os.environ.get(name)), None)
    certificates = ROOT / "deploy/ca-certificates/test-container.crt"
    try:
        if bundle:
            shutil.copyfile(bundle, certificates)
        done = run(
            *("docker", "build", "--network=host", f"--target={target}", f"--tag={tag}"),
            f"--build-arg=BASE_IMAGE={base_image}",
            # Without a value, docker takes the argument from the environment if it is set.
            *(f"--build-arg={name}" for name in pip_settings),
            *arguments,
            ".",
            timeout_seconds=BUILD_SECONDS,
            check=check,
        )
    finally:
        certificates.unlink(missing_ok=True)
    return done.stdout + done.stderr


@contextmanager
def started(*arguments: str) -> Iterator[str]:
    """Start a container with `docker run --detach ARGUMENTS`, yield its id, remove it."""
    container = run("docker", "run", "--detach", *arguments).stdout.strip()
    try:
        yield container
    finally:
        run("docker", "rm", "--force", container)


def published(container: str, port: int) -> str:
    """Return the address on this machine, as host:port, of a container's port."""
    return run("docker", "port", container, f"{port}/tcp").stdout.split()[0]
