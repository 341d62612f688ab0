"""Tests of the image that takes models from stores, on a real Docker engine."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
from running import containers
from running.containers import free_port, run, started, wait_until_healthy
from running.file_server import FileServer, file_server
from sample_models import arithmetic_models

from serving.client import PredictClient

pytestmark = [pytest.mark.docker, pytest.mark.slow]

IMAGE = "onnx-serving:storage-test"


@pytest.fixture(scope="module")
def image(base_image) -> str:
    """The image under test."""
    return containers.build("serving-cpu-storage", IMAGE, base_image)


@pytest.fixture
def web(tmp_path) -> Iterator[FileServer]:
    """A web server with a model."""
    arithmetic_models.half_plus_two(tmp_path / "stored")
    with file_server(tmp_path / "stored") as server:
        yield server


@pytest.fixture
def volume() -> Iterator[str]:
    """A named volume for the cache."""
    name = f"onnx-serving-cache-{os.getpid()}"
    yield name
    run("docker", "volume", "rm", "--force", name)


def test_all_libraries_are_there(image):
    """The libraries of every scheme can be imported on a read-only file system."""
    code = "import adlfs, aiohttp, azure.identity, gcsfs, huggingface_hub, s3fs"
    run(
        *("docker", "run", "--rm", "--read-only", "--entrypoint=python", image, "-c", code),
        timeout_seconds=120,
    )


def test_a_container_fetches_into_its_volume(image, web, volume):
    """A container serves models of a web server; the next one finds them in the volume."""
    port = free_port()
    arguments = (
        *("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host"),
        *(f"--env=SERVING_MODELS_DIR={web.url}", f"--env=SERVING_PORT={port}"),
        *(f"--env=SERVING_HEALTH_PORT={free_port()}", f"--volume={volume}:/cache", image),
    )
    for _ in range(2):
        with started(*arguments) as container:
            wait_until_healthy(container, timeout_seconds=60)
            with PredictClient(f"127.0.0.1:{port}") as client:
                y = client.predict("half_plus_two", {"x": np.ones((1, 1), np.float32)})["y"]
        assert y.tolist() == [[2.5]]

    assert sum(path.endswith("model.onnx") for path, _ in web.gets) == 1
