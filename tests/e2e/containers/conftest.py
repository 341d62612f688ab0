"""Fixtures of the tests on a Docker engine: its Compose command and the server's image."""

import pytest
from running import containers
from running.containers import build

IMAGE = "onnx-serving:test"


@pytest.fixture(scope="module")
def compose() -> tuple[str, ...]:
    """The Compose command of this machine."""
    return containers.compose_command()


@pytest.fixture(scope="module")
def base_image() -> str:
    """The base image of the built images."""
    containers.require_engine()
    return containers.base_image()


@pytest.fixture(scope="module")
def image(base_image) -> str:
    """The server's image."""
    return build("serving-cpu", IMAGE, base_image)
