"""Tests of the image and compose.yaml on a real Docker engine, from outside."""

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import containers
import numpy as np
import pytest
import tiny_models
from containers import (
    ROOT,
    build,
    free_port,
    inspect,
    published,
    run,
    started,
    succeeds,
    wait_until_healthy,
)

from serving.client import PredictClient

pytestmark = pytest.mark.docker

IMAGE = "onnx-serving:test"
LOADTEST_IMAGE = "onnx-serving:loadtest-test"


@pytest.fixture(scope="module")
def compose() -> tuple[str, ...]:
    """The Compose command of this machine."""
    return containers.compose_command()


@pytest.fixture(scope="module")
def base_image(compose) -> str:
    """The base image of the built images."""
    return containers.base_image()


@pytest.fixture(scope="module")
def image(base_image) -> str:
    """The server's image."""
    return build("serving-cpu", IMAGE, base_image)


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


@pytest.fixture
def half_plus_two(tmp_path) -> Path:
    """The folder of a model, readable for all users, as `export saved-model` writes it."""
    folder = tiny_models.half_plus_two(tmp_path).parent
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def predict_over_rest(container: str, port: int, model: str, padding_bytes: int = 0) -> list[float]:
    """Return the predictions for 1, 2 and 5, as soon as the server answers."""
    url = f"http://{published(container, port)}/v1/models/{model}:predict"
    body = json.dumps({"instances": [1.0, 2.0, 5.0]}).encode() + b" " * padding_bytes
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, body, timeout=10) as response:
                return json.load(response)["predictions"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{error}: {error.read().decode()}")
        except OSError:
            if time.monotonic() > deadline:
                logs = run("docker", "logs", container)
                pytest.fail(f"{url} does not answer; log:\n{logs.stdout}{logs.stderr}")
            time.sleep(0.2)


def predict_over_grpc(container: str, port: int, model: str) -> list[float]:
    with PredictClient(published(container, port), timeout=10) as client:
        return client.predict(model, {"x": np.float32([1, 2, 5])})["y"].tolist()


@pytest.mark.parametrize("uid", [0, 1000, 12345])
def test_kserves_command_line_runs_as_any_user(image, half_plus_two, uid):
    """KServe's runtime for TensorFlow Serving needs only another image.

    The user has no name, no home and no capability, and nothing is writable, not even /tmp.
    """
    restrictions = ("--read-only", f"--user={uid}", "--cap-drop=ALL", "--security-opt")
    with started(
        *(*restrictions, "no-new-privileges", "--entrypoint=/usr/bin/tensorflow_model_server"),
        *("--publish=127.0.0.1::9000", "--publish=127.0.0.1::8080"),
        *(f"--volume={half_plus_two}:/mnt/models:ro", image),
        *("--model_name=x", "--port=9000", "--rest_api_port=8080"),
        *("--model_base_path=/mnt/models", "--rest_api_timeout_in_ms=60000"),
    ) as container:
        over_rest = predict_over_rest(container, 8080, "x")
        over_grpc = predict_over_grpc(container, 9000, "x")
        # A JSON child process reads a body of this size.
        large = predict_over_rest(container, 8080, "x", padding_bytes=300_000)
        run("docker", "stop", "--time=30", container)
        code = inspect("container", container)["State"]["ExitCode"]

    assert over_rest == [2.5, 3.0, 4.5]
    assert over_grpc == [2.5, 3.0, 4.5]
    assert large == [2.5, 3.0, 4.5]
    assert code == 0


def test_the_docker_run_of_tensorflow_servings_readme_works(image, half_plus_two):
    """The README of TensorFlow Serving: `docker run -t -p 8501 -e MODEL_NAME=... IMAGE` works."""
    with started(
        *("--tty", "--publish=127.0.0.1::8501", "--publish=127.0.0.1::8500"),
        *(f"--volume={half_plus_two}:/models/half_plus_two", "--env=MODEL_NAME=half_plus_two"),
        image,
    ) as container:
        over_rest = predict_over_rest(container, 8501, "half_plus_two")
        over_grpc = predict_over_grpc(container, 8500, "half_plus_two")

    assert over_rest == [2.5, 3.0, 4.5]
    assert over_grpc == [2.5, 3.0, 4.5]


def test_tensorflow_servings_entry_point_is_there(image, half_plus_two):
    """`tf_serving_entrypoint.sh` reads MODEL_NAME and MODEL_BASE_PATH and appends arguments."""
    with started(
        *("--read-only", "--user=1000", "--entrypoint=/usr/bin/tf_serving_entrypoint.sh"),
        *("--publish=127.0.0.1::8501", "--publish=127.0.0.1::9000"),
        *(f"--volume={half_plus_two}:/data/half_plus_two:ro",),
        *("--env=MODEL_NAME=half_plus_two", "--env=MODEL_BASE_PATH=/data"),
        *(image, "--port=9000"),
    ) as container:
        over_rest = predict_over_rest(container, 8501, "half_plus_two")
        over_grpc = predict_over_grpc(container, 9000, "half_plus_two")

    assert over_rest == [2.5, 3.0, 4.5]
    assert over_grpc == [2.5, 3.0, 4.5]


def test_a_list_of_models_beats_the_entry_points_one_model(image, half_plus_two):
    """`--model_config_file` overrides the one model of either entry point."""
    config = half_plus_two.parent / "models.config"
    config.write_text(
        'model_config_list { config { name: "listed" base_path: "/models/half_plus_two" } }'
    )
    config.chmod(0o644)
    for entry_point in ("tf_serving_entrypoint.sh", "onnx_serving_entrypoint.sh"):
        with started(
            *("--read-only", f"--entrypoint={entry_point}", "--publish=127.0.0.1::8501"),
            *(f"--volume={half_plus_two}:/models/half_plus_two:ro",),
            *(f"--volume={config}:/models/models.config:ro", image),
            "--model_config_file=/models/models.config",
        ) as container:
            assert predict_over_rest(container, 8501, "listed") == [2.5, 3.0, 4.5]


def test_tensorflow_model_server_knows_its_name(image):
    """`--version` prints what TensorFlow Serving's image prints, with this project's versions."""
    docker_run = ("docker", "run", "--rm", "--network=none", "--entrypoint")
    printed = run(*docker_run, "tensorflow_model_server", image, "--version").stdout

    assert printed.startswith("TensorFlow ModelServer: ")
    assert "onnx-serving" in printed


def test_tensorflow_model_server_opens_no_rest_port_by_itself(image, half_plus_two):
    """Without --rest_api_port, `tensorflow_model_server` opens no REST port.

    Users who want gRPC with certificates only must get no plain port beside it.
    """
    with started(
        *("--network=none", "--entrypoint=tensorflow_model_server"),
        *(f"--volume={half_plus_two}:/mnt/models:ro", image, "--model_base_path=/mnt/models"),
    ) as container:
        wait_until_healthy(container, timeout_seconds=60)
        listening = run(
            *("docker", "exec", container, "python", "-c"),
            "import socket\n"
            "for port in (8500, 8501, 8502):\n"
            "    print(socket.socket().connect_ex(('127.0.0.1', port)) == 0)",
        ).stdout.split()

    assert listening == ["True", "False", "True"]


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
