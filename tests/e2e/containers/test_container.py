"""Tests of the image and compose.yaml on a real Docker engine, from outside."""

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from running import containers
from running.containers import ROOT, build, free_port, inspect, run, succeeds, wait_until_healthy

from serving.client import PredictClient

pytestmark = pytest.mark.docker

LOADTEST_IMAGE = "onnx-serving:loadtest-test"


@pytest.fixture(scope="module")
def loadtest_image(base_image) -> str:
    """The load generator's image."""
    return build("loadtest", LOADTEST_IMAGE, base_image)


@contextmanager
def composed(compose: tuple[str, ...], image: str) -> Iterator[tuple[str, int]]:
    """Run `docker compose up` in its own project; yield the healthy container id and host port."""
    port = free_port()
    project = f"onnx-serving-test-{secrets.token_hex(4)}"
    command = (*compose, "--project-name", project, "--file", "compose.yaml")
    env = {
        "SERVING_IMAGE": image,
        "GRPC_PORT": f"127.0.0.1:{port}",
        "REST_PORT": f"127.0.0.1:{free_port()}",
    }
    try:
        run(*command, "up", "--detach", "--no-build", env=env, timeout_seconds=120)
        container = run(*command, "ps", "--quiet", "serving", env=env).stdout.strip()
        wait_until_healthy(container, timeout_seconds=180)
        yield container, port
    finally:
        run(*command, "down", "--volumes", "--timeout", "10", env=env, timeout_seconds=120)


@pytest.fixture(scope="module")
def service(compose, image) -> Iterator[tuple[str, int]]:
    """A composed container that tests share if they change nothing in it."""
    with composed(compose, image) as running:
        yield running


@pytest.fixture
def python_in(image):
    """A function that runs Python code in the image without starting the server."""

    def run_python(code: str) -> str:
        docker_run = ("docker", "run", "--rm", "--network=none", "--entrypoint=python")
        return run(*docker_run, image, "-c", code).stdout.strip()

    return run_python


def test_the_server_is_built_without_the_load_test(image, base_image):
    """No step of the load test's stages runs, also without BuildKit."""
    output = containers.build_output("serving-cpu", image, base_image)

    assert "serving-cpu-venv" in output
    assert "loadtest-venv" not in output


def test_a_build_without_its_index_says_the_likely_reason(base_image):
    """PIP_INDEX_URL reaches pip in every stage, and the last lines say that nothing answers."""
    output = containers.build_output(
        "serving-cpu-venv",
        "onnx-serving:test-no-index",
        base_image,
        "--build-arg=PIP_INDEX_URL=http://127.0.0.1:9/simple",
        check=False,
    )

    assert "127.0.0.1" in output
    assert "Likely reason: the build has no network" in output


def test_composed_server_classifies_images(service):
    """CIFAR-10 images sent to the published port come back classified far above chance."""
    _, port = service
    sample = np.load(ROOT / "tests/data/cifar10_sample.npz")

    with PredictClient(f"localhost:{port}") as client:
        outputs = client.predict("simcnn", {"images": sample["images"]})

    n = len(sample["labels"])
    assert outputs["classes"].shape == (n,)
    assert outputs["probabilities"].shape == (n, 10)
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(outputs["probabilities"].argmax(axis=1), outputs["classes"])
    # SimCNN gets about 8 of 10 right; guessing gets 1.
    assert (outputs["classes"] == sample["labels"]).mean() > 0.5


def test_composed_server_answers_rest(service, compose):
    """TensorFlow Serving's REST port 8501 is published, too."""
    container, _ = service
    address = run("docker", "port", container, "8501/tcp").stdout.strip()

    with urllib.request.urlopen(f"http://{address}/v1/models/simcnn", timeout=10) as response:
        status = json.load(response)

    assert status["model_version_status"][0]["state"] == "AVAILABLE"


def test_server_is_process_1_and_unprivileged(service):
    """The server is process 1 and gets the engine's signals, with uid 10001 and no capability."""
    container, _ = service

    command_line = run("docker", "exec", container, "cat", "/proc/1/cmdline").stdout.split("\0")
    status = dict(
        line.split(":\t", maxsplit=1)
        for line in run("docker", "exec", container, "cat", "/proc/1/status").stdout.splitlines()
    )

    assert command_line[1:3] == ["-m", "serving"]
    assert set(status["Uid"].split()) == {"10001"}
    assert int(status["CapEff"], 16) == 0
    assert int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


@pytest.mark.parametrize("folder", ["/", "/app", "/models"])
def test_files_are_read_only(service, folder):
    """Not even root can write to the file system or to the models."""
    container, _ = service

    result = run(
        *("docker", "exec", "--user=0", container, "touch", f"{folder}/written"), check=False
    )

    assert result.returncode != 0
    assert "Read-only file system" in result.stderr


def test_image_holds_only_the_serve_extra(python_in):
    """The image holds the serve extra: ONNX Runtime, but no TensorFlow, Keras, JAX or pip."""
    names = python_in(
        "import importlib.metadata as m; print(*{d.name.lower() for d in m.distributions()})"
    ).split()

    assert "onnxruntime" in names
    assert "onnx-serving" in names
    unwanted = ("tensorflow", "keras", "jax", "torch", "pip", "setuptools", "pytest", "locust")
    assert [name for name in names if name.startswith(unwanted)] == []


def test_image_adds_less_than_250_mb_to_its_base(image, base_image):
    """The layers above the base image, libraries and code, take less than 250 MB."""
    added_bytes = inspect("image", image)["Size"] - inspect("image", base_image)["Size"]

    assert 0 < added_bytes < 250e6


def test_build_settings_leave_no_trace(image, python_in):
    """The build's certificates and pip settings are in neither the image nor its history."""
    history = run("docker", "history", "--no-trunc", "--format={{.CreatedBy}}", image).stdout
    environment = " ".join(inspect("image", image)["Config"]["Env"])

    assert "/opt/venv" in history
    assert "PIP_" not in history
    assert "PIP_" not in environment
    assert python_in("import os; print(*os.listdir('/opt'))") == "venv"


def test_every_module_is_compiled(python_in):
    """Every .py has its .pyc, so that a read-only container compiles nothing at the start."""
    missing = python_in(
        "import asyncio, importlib.util as u, pathlib\n"
        "files = [p for f in ('/app', '/opt/venv/lib') for p in pathlib.Path(f).rglob('*.py')]\n"
        "files += pathlib.Path(asyncio.__file__).parent.glob('*.py')\n"
        "assert len(files) > 500, len(files)\n"
        "print([str(p) for p in files if not pathlib.Path(u.cache_from_source(p)).exists()])"
    )

    assert missing == "[]"


def test_stop_drains_and_exits_with_0(compose, image):
    """SIGTERM ends the server with exit code 0 within the grace period (a kill gives 137)."""
    with composed(compose, image) as (container, _):
        run("docker", "stop", "--time=30", container, timeout_seconds=60)

        state = inspect("container", container)["State"]
        assert state["ExitCode"] == 0
        assert not state["OOMKilled"]


def test_flags_are_appended_to_the_entrypoint(image):
    """`docker run IMAGE --port 9000` changes the port and still serves /models."""
    models = ROOT / "models"
    container = run(
        *("docker", "run", "--detach", "--read-only", "--network=none"),
        *(f"--volume={models}:/models:ro", image, "--port", "9000"),
    ).stdout.strip()
    try:
        health_check = ("docker", "exec", container, "python", "-m", "serving.healthcheck")
        deadline = time.monotonic() + 60
        while not succeeds(*health_check, "localhost:9000"):
            logs = run("docker", "logs", container)
            assert time.monotonic() < deadline, logs.stdout + logs.stderr

        assert not succeeds(*health_check, "localhost:8500")
    finally:
        run("docker", "rm", "--force", container)


def test_everything_is_readable_for_every_user(python_in):
    """Root owns all files of the server, and every user can read them."""
    unreadable = python_in(
        "import pathlib\n"
        "files = [p for f in ('/app', '/opt/venv') for p in pathlib.Path(f).rglob('*')]\n"
        "scripts = [p for n in ('tensorflow_model_server', 'tf_serving_entrypoint.sh',"
        " 'onnx_serving_entrypoint.sh') for p in [pathlib.Path('/usr/bin') / n]]\n"
        "assert len(files) > 1000, len(files)\n"
        "needed = lambda p: 0o5 if p.is_dir() or p in scripts else 0o4\n"
        "print([str(p) for p in files + scripts if p.lstat().st_uid or not p.is_symlink()"
        " and p.stat().st_mode & needed(p) != needed(p)])"
    )

    assert unreadable == "[]"


@pytest.fixture
def image_data(tmp_path) -> Path:
    """CIFAR-10's test file made of 24 repeated real images, and a small matrix file."""
    sample = np.load(ROOT / "tests/data/cifar10_sample.npz")
    planes = sample["images"].transpose(0, 3, 1, 2).reshape(len(sample["labels"]), -1)
    records = np.concatenate([sample["labels"][:, None].astype(np.uint8), planes], axis=1)
    folder = tmp_path / "data"
    folder.mkdir()
    np.resize(records, (10_000, records.shape[1])).tofile(folder / "test_batch.bin")
    (folder / "tiny.toml").write_text(
        'name = "tiny"\nmodels = ["simcnn"]\n[[targets]]\nserve = []\n'
        '[[scenarios]]\nscenario = "single-stream"\nrequests = 100\n'
    )
    return folder


@pytest.mark.slow
def test_composed_load_test_measures_the_composed_server(
    compose, image, loadtest_image, image_data, tmp_path
):
    """`--profile loadtest up` runs a matrix against the service and leaves a report behind."""
    results = tmp_path / "results"
    results.mkdir()
    results.chmod(0o777)  # for the container's user
    project = f"onnx-serving-test-{secrets.token_hex(4)}"
    command = (*compose, "--project-name", project, "--profile", "loadtest")
    env = {
        "SERVING_IMAGE": image,
        "LOADTEST_IMAGE": loadtest_image,
        "GRPC_PORT": f"127.0.0.1:{free_port()}",
        "REST_PORT": f"127.0.0.1:{free_port()}",
        "CIFAR10_DIR": str(image_data),
        "LOADTEST_RESULTS": str(results),
        # The record has no predictions for these few images.
        "LOADTEST_ARGS": "/data/tiny.toml --no-record",
    }
    try:
        up = ("up", "--no-build", "--exit-code-from", "loadtest")
        run(*command, *up, env=env, timeout_seconds=300)
    finally:
        run(*command, "down", "--volumes", "--timeout", "10", env=env, timeout_seconds=120)

    document = json.loads((results / "report.json").read_text())
    report = document["results"][0]["report"]
    assert report["target"] == "serving:8500"
    assert report["requests"]["answered"] == 100
    assert report["accuracy"]["top1"] > 0.5
    assert "simcnn" in (results / "report.html").read_text()


@pytest.mark.slow  # the second image takes a minute and a half
def test_load_test_image_holds_no_tensorflow_and_no_server(loadtest_image):
    """The image has neither TensorFlow nor ONNX Runtime, runs unprivileged and prints its usage."""
    names = run(
        *("docker", "run", "--rm", "--network=none", "--entrypoint=python", loadtest_image, "-c"),
        "import importlib.metadata as m; print(*{d.name.lower() for d in m.distributions()})",
    ).stdout.split()
    usage = run("docker", "run", "--rm", "--read-only", "--network=none", loadtest_image).stdout

    assert "hdrhistogram" in names
    unwanted = ("tensorflow", "keras", "jax", "torch", "onnxruntime", "pip")
    assert [name for name in names if name.startswith(unwanted)] == []
    assert "find-capacity" in usage
    assert inspect("image", loadtest_image)["Config"]["User"] == "10001:10001"
