"""Tests of the image that also runs SavedModels with TensorFlow, on a real Docker engine."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from running import containers
from running.containers import inspect, published, run, started, wait_until_healthy
from sample_models import tiny_models
from sample_saved_models import tensorflow1_models, tensorflow_models

from serving.client import PredictClient

pytestmark = [pytest.mark.docker, pytest.mark.slow]

IMAGE = "onnx-serving:tensorflow-test"


@pytest.fixture(scope="module")
def image(base_image) -> str:
    """The image under test; TensorFlow's libraries are half a gigabyte to download."""
    return containers.build("serving-cpu-tensorflow", IMAGE, base_image)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """SavedModels of TensorFlow 1 and 2, and an ONNX model."""
    folder = tmp_path_factory.mktemp("models")
    tensorflow1_models.half_plus(folder / "half_plus_two" / "00000123")
    tensorflow_models.lookup(folder / "lookup" / "1")
    tensorflow_models.unknown_rank_convolution(folder / "convolution" / "1")
    tiny_models.add(folder)
    run("chmod", "-R", "a+rX", folder)
    return folder


@pytest.fixture(scope="module")
def container(image, models) -> Iterator[str]:
    """A healthy container of the image that may write nowhere, as an arbitrary user."""
    with started(
        *("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=12345"),
        *("--publish=127.0.0.1::8500", "--publish=127.0.0.1::8501"),
        *(f"--volume={models}:/models:ro", image),
    ) as running:
        wait_until_healthy(running, timeout_seconds=180)
        yield running


def test_both_kinds_answer_over_grpc(container):
    """Over gRPC, TensorFlow answers strings through a table, and ONNX Runtime numbers."""
    with PredictClient(published(container, 8500)) as client:
        words = client.predict("lookup", {"words": np.array([b"kg", b"?"], object)})
        numbers = client.predict("add", {"a": np.array([1]), "b": np.array([2])})

    assert words["ids"].tolist() == [1, 0]
    assert numbers["sum"].tolist() == [3]


def test_both_kinds_answer_over_rest(container):
    """Over REST, half_plus_two answers its README's request, and the ONNX model answers."""

    def post(model: str, document: object) -> dict:
        url = f"http://{published(container, 8501)}/v1/models/{model}:predict"
        with urllib.request.urlopen(url, json.dumps(document).encode(), timeout=20) as response:
            return json.load(response)

    assert post("half_plus_two", {"instances": [1.0, 2.0, 5.0]}) == {"predictions": [2.5, 3.0, 4.5]}
    assert post("add", {"inputs": {"a": [1], "b": [2]}})["outputs"]["sum"] == [3]


def test_a_rank_is_tried_in_a_child_process(container):
    """A rank that ends a process is tried in a child on a read-only system; the server goes on."""
    with PredictClient(published(container, 8500), timeout=120) as client:
        with pytest.raises(Exception, match=r"of rank 2|must be 4-dimensional"):
            client.predict("convolution", {"x": np.ones((4, 3), np.float32)})
        answer = client.predict("convolution", {"x": np.ones((1, 4, 4, 3), np.float32)})

    assert answer["y"].shape == (1, 4, 4, 2)
    assert inspect("container", container)["State"]["Running"]


@pytest.mark.parametrize("folder", ["/app", "/models", "/tmp"])  # noqa: S108 - the container's
def test_it_writes_nowhere(container, folder):
    """The container can write to no folder, not even /tmp."""
    written = run("docker", "exec", container, "touch", f"{folder}/written", check=False)

    assert "Read-only file system" in written.stderr


def test_it_is_unprivileged(container):
    """The container runs as uid 12345 without a name, a home or a capability."""
    status = run("docker", "exec", container, "cat", "/proc/1/status").stdout
    user = inspect("image", IMAGE)["Config"]["User"]

    assert "Uid:\t12345\t12345\t12345\t12345" in status
    assert "CapEff:\t0000000000000000" in status
    assert user == "10001:10001"


def test_image_adds_tensorflow_and_no_build_tools(image, base_image):
    """The image has TensorFlow, but no pip, tf2onnx, pytest or JAX, and adds less than 2.5 GB."""
    names = run(
        *("docker", "run", "--rm", "--network=none", "--entrypoint=python", image, "-c"),
        "import importlib.metadata as m; print(*{d.name.lower() for d in m.distributions()})",
    ).stdout.split()
    added_bytes = inspect("image", image)["Size"] - inspect("image", base_image)["Size"]

    assert {"tensorflow", "onnxruntime", "onnx-serving"} <= {*names}
    assert {"pip", "tf2onnx", "pytest", "jax"} & {*names} == set()
    assert 0 < added_bytes < 2.5e9


def test_it_stops_at_once(image, models):
    """SIGTERM ends the container with exit code 0, also with TensorFlow loaded."""
    with started("--read-only", f"--volume={models}:/models:ro", image) as running:
        wait_until_healthy(running, timeout_seconds=180)
        run("docker", "stop", "--time=30", running, timeout_seconds=60)
        code = inspect("container", running)["State"]["ExitCode"]

    assert code == 0
