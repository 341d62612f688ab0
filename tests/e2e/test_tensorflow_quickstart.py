"""TensorFlow Serving's quickstart and its MNIST tutorial: convert, start, call.

The models are made here with the graphs and signatures of the originals. Commands, paths and calls
are those of TensorFlow Serving's README.md, g3doc/docker.md and example/mnist_client.py.
"""

import json
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
import snippets
import tensorflow as tf
from running import servers
from running.tensorflow_command import environment, free_port, script
from sample_saved_models import tensorflow1_models
from tensorflow_serving.apis import (
    classification_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

# Conversions take long: each one imports TensorFlow in its own process.
pytestmark = pytest.mark.timeout(400)
README_BODY = '{"instances": [1.0, 2.0, 5.0]}'


def convert(source: Path, name: str, models_dir: Path) -> str:
    """Run the documentation's first command; return its output."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "export", "saved-model", str(source)),
            *("--name", name, "--models-dir", str(models_dir)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment(),
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory) -> Path:
    """A folder with both converted models."""
    folder, models = tmp_path_factory.mktemp("saved_models"), tmp_path_factory.mktemp("models")
    tensorflow1_models.half_plus(folder / "saved_model_half_plus_two_cpu" / "00000123")
    tensorflow1_models.mnist(folder / "mnist" / "1")
    convert(folder / "saved_model_half_plus_two_cpu", "half_plus_two", models)
    convert(folder / "mnist", "mnist", models)
    return models


@pytest.fixture
def started(tmp_path):
    """A function that starts `tensorflow_model_server`; returns its gRPC port and its REST port."""
    processes = []

    def start(*flags: str) -> tuple[int, int]:
        port, rest_port = free_port(), free_port()
        process = subprocess.Popen(
            [script(tmp_path), f"--port={port}", f"--rest_api_port={rest_port}", *flags],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        server = servers.ServerProcess(process)
        processes.append((process, server))
        server.wait_for("ready: ")
        return port, rest_port

    yield start
    for process, server in processes:
        process.kill()
        process.wait()
        server.read_to_end()
        process.stderr.close()


def curl(*arguments: str) -> dict:
    ran = subprocess.run(
        ["curl", "-s", *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(ran.stdout)


def test_half_plus_two_as_the_readme_has_it(models_dir, started):
    """half_plus_two answers the README's request as a plain list, with status and metadata."""
    _, rest_port = started(
        "--model_name=half_plus_two", f"--model_base_path={models_dir / 'half_plus_two'}"
    )
    url = f"http://localhost:{rest_port}/v1/models/half_plus_two"

    answer = curl("-d", README_BODY, "-X", "POST", f"{url}:predict")
    regression = curl(
        "-d",
        '{"signature_name": "regress_x_to_y", "examples": [{"x": 1}, {"x": 2}]}',
        "-X",
        "POST",
        f"{url}:regress",
    )
    status = curl(url)
    metadata = curl(f"{url}/metadata")

    assert answer == {"predictions": [2.5, 3.0, 4.5]}
    assert regression == {"results": [2.5, 3.0]}
    assert status["model_version_status"] == [
        {
            "version": "123",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ]
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert sorted(signatures) == [
        "classify_x_to_y",
        "regress_x2_to_y3",
        "regress_x_to_y",
        "regress_x_to_y2",
        "serving_default",
    ]


def test_the_digits_of_the_tutorial(models_dir, started):
    """The tutorial's request to `predict_images` names all digits; Classify sorts them by score."""
    port, _ = started("--model_name=mnist", f"--model_base_path={models_dir / 'mnist'}")
    digits = np.arange(10).repeat(10)
    images = tensorflow1_models.pictures(digits, np.random.default_rng(1))

    with grpc.insecure_channel(f"localhost:{port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        errors = 0
        for image, digit in zip(images, digits, strict=True):
            request = predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(name="mnist", signature_name="predict_images")
            )
            request.inputs["images"].CopyFrom(tf.make_tensor_proto(image, shape=[1, image.size]))
            response = stub.Predict(request, timeout=10)
            scores = np.array(response.outputs["scores"].float_val)
            errors += int(np.argmax(scores) != digit)
        asked = classification_pb2.ClassificationRequest(
            model_spec=model_pb2.ModelSpec(name="mnist")
        )
        asked.input.example_list.examples.add().ParseFromString(
            tensorflow1_models.example(x=images[30])
        )
        classes = stub.Classify(asked, timeout=10).result.classifications[0].classes

    assert errors == 0
    assert classes[0].label == "3"
    assert sorted(one.label for one in classes) == sorted(map(str, range(10)))
    assert [one.score for one in classes] == sorted((one.score for one in classes), reverse=True)


def test_the_page_for_movers_shows_these_commands():
    """The migration page's first block has this module's commands, and the answer below it."""
    block, answer = snippets.blocks("docs/migration.md")[:2]

    assert "python -m export saved-model" in block.text
    assert "tensorflow_model_server" in block.text
    assert README_BODY in block.text
    assert json.loads(answer.text) == {"predictions": [2.5, 3.0, 4.5]}
