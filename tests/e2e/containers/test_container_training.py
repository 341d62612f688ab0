"""Tests of the image `training` and its Compose service on a machine without a GPU."""

import json
import os
import secrets
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from image_files import write_images
from running import containers
from running.containers import ROOT, free_port, inspect, run, wait_until_healthy

from serving.client import PredictClient

pytestmark = pytest.mark.gpu_images

IMAGE = "onnx-serving:training-test"
SERVING_IMAGE = "onnx-serving:test"
# Owner of the models' folder in these tests; not the image's own user.
OWNER = 12345


@pytest.fixture(scope="module")
def image(base_image) -> Iterator[str]:
    """The image under test; it is removed afterwards, because it takes 6 GB."""
    yield containers.build("training", IMAGE, base_image)
    run("docker", "rmi", "--force", IMAGE, timeout_seconds=120)


@pytest.fixture(scope="module")
def serving_image(base_image) -> str:
    """The server's image."""
    return containers.build("serving-cpu", SERVING_IMAGE, base_image)


class Project:
    """A Compose project with folders of its own: 250 images, and models that OWNER owns.

    Attributes:
        models: Folder of the models; has version 1 of simcnn.
        runs: Folder of the runs.
        port: Port of the server's REST API on this machine.
    """

    def __init__(self, compose: tuple[str, ...], folder: Path) -> None:
        """Write the folders; nothing is started."""
        self.models, self.runs = folder / "models", folder / "runs"
        self.port = free_port()
        data = write_images(folder / "data", {"train": 20, "test": 5})
        shutil.copytree(ROOT / "models/simcnn", self.models / "simcnn")
        self.runs.mkdir()
        run("chmod", "-R", "u=rwX,go=rX", folder)
        run("chown", "-R", str(OWNER), self.models, self.runs)
        self._command = (*compose, "--project-name", f"onnx-serving-test-{secrets.token_hex(4)}")
        self._env = {
            "SERVING_IMAGE": SERVING_IMAGE,
            "TRAINING_IMAGE": IMAGE,
            "MODELS_DIR": str(self.models),
            "TRAINING_RUNS": str(self.runs),
            "CIFAR10_DIR": str(data),
            "GRPC_PORT": f"127.0.0.1:{free_port()}",
            "REST_PORT": f"127.0.0.1:{self.port}",
            "EXPORT_ARGS": "--precision fp32",
        }

    def __call__(self, *arguments: str, check: bool = True, **env: str):
        """Run a command of Compose."""
        command = (*self._command, "--profile", "train", *arguments)
        return run(*command, env=self._env | env, timeout_seconds=600, check=check)

    def train(self, *arguments: str, user: int = OWNER):
        """Run the training's service to its end; return the ended process."""
        run_once = ("run", "--rm", "-T", "training")
        return self(*run_once, *arguments, check=False, TRAINING_USER=str(user))


@pytest.fixture
def project(compose, image, serving_image, tmp_path) -> Iterator[Project]:
    """A project of this test; its containers and volumes are removed afterwards."""
    if os.geteuid() != 0:
        pytest.skip("only root can give the models' folder to another user")
    made = Project(compose, tmp_path / "project")
    yield made
    made("down", "--volumes", "--timeout", "10")


def wait_for_version(port: int, version: str) -> None:
    """Poll the model's status until the server has loaded the version."""
    deadline = time.monotonic() + 60
    url = f"http://localhost:{port}/v1/models/simcnn/versions/{version}"
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                status = json.load(response)["model_version_status"][0]
        except urllib.error.HTTPError as error:
            status = {"state": error.reason}
        if status["state"] == "AVAILABLE":
            return
        assert time.monotonic() < deadline, status
        time.sleep(0.2)


def test_a_running_server_picks_up_what_compose_trained(project):
    """`run training simcnn` trains, exports and publishes; the running server loads the version.

    The same command publishes the finished run again. A failed gate publishes nothing, and the
    command fails with the export's exit code.
    """
    project("up", "--detach", "--no-build", "serving")
    container = project("ps", "--quiet", "serving").stdout.strip()
    wait_until_healthy(container, timeout_seconds=180)
    wait_for_version(project.port, "1")

    first = project.train("simcnn", "--epochs", "1")
    assert first.returncode == 0, first.stdout + first.stderr
    wait_for_version(project.port, "2")
    address = run("docker", "port", container, "8500/tcp").stdout.strip()
    with PredictClient(address, timeout=60) as client:
        images = np.zeros((3, 32, 32, 3), np.uint8)
        answer = client.predict("simcnn", {"images": images}, version=2)

    again = project.train("simcnn", "--epochs", "1")
    figures = project.runs / "simcnn-best/metrics.json"
    metrics = json.loads(figures.read_text())
    perfect = [[5 * (row == column) for column in range(10)] for row in range(10)]
    figures.write_text(json.dumps(metrics | {"confusion_matrix": perfect}))
    refused = project.train("simcnn", "--epochs", "1")
    report = project.train("report", "simcnn-best")

    assert answer["probabilities"].shape == (3, 10)
    assert metrics["versions"]["backend"] == "jax"
    assert metrics["hardware"]["gpus"] == []
    assert "published /models/simcnn/2" in first.stdout
    assert "Traceback" not in first.stderr
    assert again.returncode == 0, again.stdout + again.stderr
    assert "was finished before, nothing to train" in again.stdout
    assert refused.returncode == 1
    assert "nothing was published" in refused.stderr
    assert sorted(path.name for path in (project.models / "simcnn").iterdir()) == ["1", "2", "3"]
    assert (project.models / "simcnn/2").stat().st_uid == OWNER
    assert report.returncode == 0, report.stdout + report.stderr
    assert (project.runs / "results/training-report/report.html").is_file()


def test_a_folder_of_another_user_is_named_with_the_way_out(project):
    """A user who cannot write to the models gets one line with TRAINING_USER, before training."""
    project.runs.chmod(0o777)

    done = project.train("simcnn", "--epochs", "1", user=10001)

    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2
    assert len(said) == 1
    assert f"user 10001 cannot write to /models/simcnn, which belongs to user {OWNER}" in said[0]
    assert 'TRAINING_USER="$(id -u)"' in said[0]
    assert "Traceback" not in done.stderr
    assert list(project.runs.iterdir()) == []


def test_a_stopped_training_is_resumed(project):
    """`docker stop` ends the training after a step; the same command continues the run."""
    command = ("simcnn", "--epochs", "60")
    detached = project("run", "--detach", "training", *command, TRAINING_USER=str(OWNER))
    container = detached.stdout.split()[-1]
    deadline = time.monotonic() + 180
    history = project.runs / "simcnn-best/history.csv"
    while not history.exists() or history.read_text().count("\n") < 2:
        assert time.monotonic() < deadline, run("docker", "logs", container).stderr
        time.sleep(0.5)
    run("docker", "stop", "--time=60", container, timeout_seconds=90)
    stopped = inspect("container", container)["State"]["ExitCode"]
    said = run("docker", "logs", container).stderr
    run("docker", "rm", container)
    epochs = history.read_text().count("\n") - 1

    resumed = project.train(*command)

    assert stopped == 130
    assert "the same command resumes the run" in said
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert f"epochs {epochs + 1} to 60" in resumed.stdout + resumed.stderr


@pytest.fixture
def names_in(image) -> Callable[[str], set[str]]:
    """A function that returns the names of the packages of one of the image's Pythons."""

    def names(python: str) -> set[str]:
        code = "import importlib.metadata as m; print(*{d.name.lower() for d in m.distributions()})"
        docker_run = ("docker", "run", "--rm", "--network=none", f"--entrypoint={python}")
        return {*run(*docker_run, image, "-c", code).stdout.split()}

    return names


def test_the_two_environments_have_what_they_need(names_in):
    """The training has JAX with CUDA and no TensorFlow, the export TensorFlow and no JAX."""
    training = names_in("/opt/venv/bin/python")
    export = names_in("/opt/export/bin/python")

    assert {"jax", "jax-cuda13-plugin", "nvidia-cudnn-cu13", "keras", "onnx-serving"} <= training
    assert {"tensorflow", "onnxruntime", "pip", "pytest"} & training == set()
    assert {"tensorflow", "tf2onnx", "onnxruntime", "onnx", "keras"} <= export
    assert {"jax", "nvidia-cudnn-cu13", "pip", "pytest"} & export == set()


def test_it_runs_as_the_images_user_and_writes_only_to_its_volumes(image):
    """The image's user is 10001; without a capability it can write to /runs and nowhere else."""
    config = inspect("image", image)["Config"]
    written = run(
        *("docker", "run", "--rm", "--read-only", "--cap-drop=ALL", "--network=none"),
        *("--volume=/runs", "--entrypoint=sh", image, "-c"),
        "for f in /runs /app /opt /tmp /; do touch $f/written && echo $f; done",
        check=False,
    )

    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGINT"
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in config["Env"]
    assert "ORT_DISABLE_TELEMETRY=1" in config["Env"]
    assert written.stdout.split() == ["/runs"]
