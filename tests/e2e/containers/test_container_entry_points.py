"""Tests of KServe's and TensorFlow Serving's commands for the image, on a real Docker engine."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from running.containers import inspect, published, run, started, wait_until_healthy
from sample_models import arithmetic_models

from serving.client import PredictClient

pytestmark = pytest.mark.docker


@pytest.fixture
def half_plus_two(tmp_path) -> Path:
    """The folder of a model, readable for all users, as `export saved-model` writes it."""
    folder = arithmetic_models.half_plus_two(tmp_path).parent
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
