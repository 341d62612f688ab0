"""From a folder of pictures of any classes to a measured service, by the command lines alone."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from picture_sets import CLASSES, shape_picture, write_pictures
from PIL import Image
from running import servers

from serving.client import PredictClient, read_pictures
from serving.protos.tensorflow_example_pb2 import Example

ROOT = Path(__file__).parents[2]
SIDE = 32
NAME = "shapes"


def run(*arguments: object, cwd: Path, seconds: int = 300, code: int = 0) -> str:
    """Run a module of the project and return what it prints; fail if it ends with another code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
    environment.pop("CIFAR10_DIR", None)
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(
    params=[
        pytest.param((90, 3, 3, 8), id="short"),
        pytest.param((200, 10, 3, 8), id="whole", marks=pytest.mark.slow),
    ]
)
def sizes(request):
    """Pictures of each class, broken files, repeated files, epochs."""
    return request.param


@pytest.mark.timeout(600)
def test_pictures_become_a_measured_service(sizes, tmp_path):
    """Inspect, train, report, export with int8, serve, classify by file, and load-test."""
    per_class, broken, repeated, epochs = sizes
    write_pictures(tmp_path / "data", per_class, broken=broken, repeated=repeated)
    data, published = ("--data-dir", "data"), tmp_path / "models" / NAME / "1"

    told = run("training", "inspect", "data", "--output", "inspection", cwd=tmp_path)
    assert f"{5 * per_class:,} files, 5 classes" in told
    found = json.loads((tmp_path / "inspection" / "inspection.json").read_text())
    assert (found["broken"], found["repeated_pictures"]) == (broken, 2 * repeated)

    training = ("--image-size", SIDE, "--epochs", epochs, "--batch-size", 32, "--run-dir", "run")
    held_out = ("--validation-fraction", 0.3, "--data-licence", "CC0")
    run("training", "simcnn", *data, *training, *held_out, cwd=tmp_path)
    run("training", "report", "run", *data, "--output", "report", cwd=tmp_path)
    precisions = ("--precision", "fp32,int8", "--name", NAME, "--models-dir", "models")
    run("export", "run", *data, *precisions, cwd=tmp_path)

    metrics = json.loads((published / "metrics.json").read_text())
    assert metrics["class_names"] == list(CLASSES)
    assert metrics["training"]["pictures"]["licence"] == "CC0"
    assert set(metrics["variants"]) == {"fp32", "int8"}
    assert metrics["variants"]["fp32"]["top1"] > 0.9
    assert "| Licence | CC0 |" in (published / "MODEL_CARD.md").read_text()

    flags = ("--models_dir", str(tmp_path / "models"), "--port", "0", "--host", "127.0.0.1")
    with servers.as_process(*flags) as server:
        target = server.wait_for(r"listening on ([\d.]+:\d+)").group(1)
        server.wait_for(f"ready: {NAME}")
        check_one_pixel_path(target)
        pictures = [next((tmp_path / "data" / "test" / name).glob("*")) for name in CLASSES]
        answered = run(
            *("serving.client", "classify", NAME, *pictures, "--target", target, "--resize"),
            *("--json",),
            cwd=tmp_path,
        )
        assert answered.count('"ring"') >= 1
        run(
            *("loadtest", "run", "--target", target, "--model", NAME, *data, "--users", 2),
            *("--models-dir", "models", "--output-dir", "load", "--requests", 700, "--plain"),
            cwd=tmp_path,
        )
        check_test_pictures_alone(tmp_path, target)
    load = json.loads((tmp_path / "load" / "report.json").read_text())
    assert load["accuracy"]["recorded"]["same_images"]
    assert load["mismatches"]["differing"] == 0
    assert load["accuracy"]["distinct_images"] == metrics["data"]["images"]
    assert mentions_of_cifar(tmp_path) == []


def check_test_pictures_alone(folder: Path, target: str) -> None:
    """Check that no class without test pictures shifts the labels of the others."""
    alone = folder / "alone"
    shutil.copytree(folder / "data" / "test", alone / "test")
    flags = ("loadtest", "run", "--target", target, "--model", NAME, "--data-dir", "alone")
    flags += ("--users", 2, "--plain")
    run(*flags, "--models-dir", "models", "--output-dir", "whole", cwd=folder)
    whole = json.loads((folder / "whole" / "report.json").read_text())
    assert whole["accuracy"]["recorded"]["same_images"]
    shutil.rmtree(alone / "test" / "cross")
    told = run(*flags, "--output-dir", "refused", cwd=folder, code=2)  # the server tells
    assert "add an empty folder for cross (test/CLASS)" in told
    (alone / "test" / "cross").mkdir()
    run(*flags, "--output-dir", "less", cwd=folder)
    less = json.loads((folder / "less" / "report.json").read_text())
    assert less["accuracy"]["per_class"] == whole["accuracy"]["per_class"] | {"cross": None}
    told = run("training", "predict", "run", "alone", "--output", "alone.csv", cwd=folder)
    assert f"{less['accuracy']['distinct_images']} pictures classified" in told


def mentions_of_cifar(folder: Path) -> list[str]:
    """Return the files that name CIFAR-10, in any case."""
    return [
        str(file.relative_to(folder))
        for file in sorted(folder.rglob("*"))
        if file.is_file() and b"cifar" in file.read_bytes().lower()
    ]


def check_one_pixel_path(target: str) -> None:
    """Check that every way to send a picture of another size has the same probabilities."""
    picture = shape_picture(2, np.random.default_rng(9)).resize((83, 61))
    png = content(picture, "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = content(picture.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    with PredictClient(target) as client:
        pixels = read_pictures([np.asarray(picture)], height=SIDE, width=SIDE, resize=True)
        expected = client.predict(NAME, {"images": pixels})["probabilities"][0]
        assert expected.sum() == pytest.approx(1, abs=1e-5)
        for sent in (np.asarray(picture), png, turned, content(picture, "BMP")):
            (answer,) = client.classify(NAME, [sent], resize=True)
            assert in_order(answer) == expected.tolist()
    for key, value in (("image/encoded", png), ("image/raw", pixels.tobytes())):
        document = {
            "signature_name": "classify",
            "examples": [{key: {"b64": base64.b64encode(value).decode()}}],
        }
        (scores,) = post(target, "classify", document)["results"]
        by_name = dict(scores)
        assert float32(by_name[name] for name in CLASSES) == float32(expected)
        example = Example()
        example.features.feature[key].bytes_list.value.append(value)
        inputs = [{"inputs": {"b64": base64.b64encode(example.SerializeToString()).decode()}}]
        document = {"signature_name": "classify", "instances": inputs}
        (prediction,) = post(target, "predict", document)["predictions"]
        assert float32(prediction["scores"]) == float32(expected)
    (prediction,) = post(target, "predict", {"instances": pixels.tolist()})["predictions"]
    assert float32(prediction["probabilities"]) == float32(expected)


def content(picture: Image.Image, kind: str, **options: object) -> bytes:
    """Return the content of a file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def in_order(answer) -> list[float]:
    """Return the scores of a Classify in the order of the classes."""
    by_name = dict(answer)
    return [by_name[name] for name in CLASSES]


def float32(values) -> list[float]:
    """Return values as float32, which JSON writes with more digits."""
    return [float(np.float32(value)) for value in values]


def post(target: str, verb: str, document: object) -> dict:
    """Send a document to the REST API and return the answer."""
    request = urllib.request.Request(
        f"http://{target}/v1/models/{NAME}:{verb}", json.dumps(document).encode()
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - see above
        return json.load(answer)


@pytest.mark.timeout(300)
def test_the_seed_of_drawn_test_pictures_follows_the_model(tmp_path):
    """Report, export and load test use the test pictures that `--split-seed` drew."""
    write_pictures(tmp_path / "data", 60, parts=("",))
    data = ("--data-dir", "data")
    training = ("--image-size", SIDE, "--epochs", 1, "--batch-size", 32, "--run-dir", "run")
    run("training", "simcnn", *data, *training, "--split-seed", 7, cwd=tmp_path)
    run("training", "report", "run", *data, "--output", "report", cwd=tmp_path)
    run("export", "run", *data, "--name", NAME, "--models-dir", "models", cwd=tmp_path)

    card = (tmp_path / "models" / NAME / "1" / "MODEL_CARD.md").read_text()
    assert "drawn, a fifth of each class, seed 7" in card
    assert "left out" not in (tmp_path / "report" / "report.md").read_text()
    flags = ("--models_dir", str(tmp_path / "models"), "--port", "0", "--host", "127.0.0.1")
    with servers.as_process(*flags) as server:
        target = server.wait_for(r"listening on ([\d.]+:\d+)").group(1)
        server.wait_for(f"ready: {NAME}")
        run(
            *("loadtest", "run", "--target", target, "--model", NAME, *data, "--users", 2),
            *("--models-dir", "models", "--output-dir", "load", "--plain"),
            cwd=tmp_path,
        )
    load = json.loads((tmp_path / "load" / "report.json").read_text())
    assert load["accuracy"]["recorded"]["same_images"]
