"""The commands that publish, run in this process or in a new one as a user starts them."""

import json
import re

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from sample_saved_models import tensorflow1_models

from export.__main__ import main
from serving.repository import model_folder


def test_run_is_published_by_command(run_export, run_dir, image_dir, tmp_path):
    """The output has timed progress lines and ends with the folder and top-1; stderr is empty."""
    arguments = ("--models-dir", tmp_path, "--data-dir", image_dir, "--precision", "fp32")
    done = run_export(run_dir, *arguments, KERAS_BACKEND="jax")

    correct = json.loads((run_dir / "metrics.json").read_text())["top1"]
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0] == "KERAS_BACKEND=jax ignored: exports run on tensorflow"
    assert len([line for line in lines if re.search(r": \d+\.\d s$", line)]) == 9
    assert lines[-1].startswith(
        f"published {tmp_path}/simcnn/1: fp32, {correct:.2%} of 80 test images"
    )
    assert model_folder.read(tmp_path / "simcnn" / "1").signatures


@pytest.mark.slow
def test_published_bytes_do_not_depend_on_the_process(
    run_export, published, run_dir, image_dir, tmp_path
):
    """Another process with another hash seed writes the same model.onnx."""
    done = run_export(
        run_dir, "--models-dir", tmp_path, "--data-dir", image_dir, PYTHONHASHSEED="7"
    )

    assert done.returncode == 0
    written = (tmp_path / "simcnn" / "1" / "model.onnx").read_bytes()
    assert written == (published.path / "model.onnx").read_bytes()


def test_precisions_are_chosen_by_command(call, run_dir, image_dir, tmp_path):
    """`--precision w8` publishes only w8 and prints its figures."""
    arguments = ("--models-dir", tmp_path, "--data-dir", image_dir, "--precision")

    code, stdout, stderr = call(run_dir, *arguments, " w8")

    assert (code, stderr) == (0, "")
    assert any(re.match(r"model\.w8\.onnx: .* same class as fp32, .* MB$", line) for line in stdout)
    assert stdout[-1].startswith(f"published {tmp_path}/simcnn/1: w8, ")
    assert [file.name for file in (tmp_path / "simcnn" / "1").glob("*.onnx")] == ["model.w8.onnx"]


def test_saved_model_is_published_by_command(call, two_signatures, tmp_path):
    """`saved-model` prints the signatures and says that the accuracy is unknown."""
    code, stdout, stderr = call(
        "saved-model", two_signatures, "--name", "two", "--models-dir", tmp_path
    )

    assert (code, stderr) == (0, "")
    assert stdout[-1] == (
        f"published {tmp_path}/two/1: serving_default, sum/up "
        "(accuracy unknown: compared on random inputs)"
    )


@pytest.mark.slow
def test_chosen_signatures_are_published(call, with_strings, tmp_path):
    """Without `--signature` the refusal names it; with it only that signature is published."""
    arguments = ("saved-model", with_strings, "--name", "some", "--models-dir", tmp_path)

    refused, _, stderr = call(*arguments)
    code, _, _ = call(*arguments, "--signature", "summary")

    assert refused == 2
    assert stderr.endswith("pass --signature summary\n")
    assert code == 0
    assert list(model_folder.read(tmp_path / "some" / "1").signatures) == ["summary"]


@pytest.mark.slow
def test_free_size_reaches_the_random_inputs(call, tmp_path):
    """A model that needs five columns is refused, and published with `--free-size 5`."""
    module = tf.Module()
    weights = tf.ones((5, 2))
    module.function = tf.function(
        lambda x: {"y": tf.matmul(x, weights)},
        input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")],
    )
    tf.saved_model.save(module, str(tmp_path / "five"), {"serving_default": module.function})
    arguments = ("saved-model", tmp_path / "five", "--name", "five", "--models-dir", tmp_path / "m")

    refused, _, stderr = call(*arguments)
    code, _, _ = call(*arguments, "--free-size", 5)

    assert (refused, code) == (2, 0)
    assert "--free-size" in stderr


def test_precision_is_added_by_command(call, published, image_dir, tmp_path, wide_limits):
    """`add-precision` publishes w8; the last line has the new version and its accuracy."""
    options = ["--precision", "w8", "--models-dir", tmp_path, "--data-dir", image_dir]

    code, lines, error = call("add-precision", published.path, *options)

    assert (code, error) == (0, "")
    assert re.fullmatch(
        rf"published {tmp_path}/simcnn/1: w8, \d+\.\d\d% of 80 test images correct .*", lines[-1]
    )


def test_base_path_is_published_with_its_version_numbers(call, tmp_path):
    """Each version in TensorFlow Serving's base path keeps its number; a second run is refused."""
    base = tmp_path / "half_plus"
    tensorflow1_models.half_plus(base / "00000123")
    tensorflow1_models.half_plus(base / "00000124", 3.0)
    arguments = ("saved-model", base, "--name", "half", "--models-dir", tmp_path / "models")

    code, stdout, stderr = call(*arguments)
    again, _, refusal = call(*arguments)

    assert (code, stderr) == (0, "")
    published = [line.partition(":")[0] for line in stdout if line.startswith("published")]
    assert published == [f"published {tmp_path}/models/half/{number}" for number in (123, 124)]
    answers = [
        onnxruntime.InferenceSession(tmp_path / "models" / "half" / number / "model.onnx").run(
            None, {"x": np.array(4, np.float32)}
        )
        for number in ("123", "124")
    ]
    assert [float(y) for (y,) in answers] == [4, 5]
    assert again == 2
    assert "has a version 123 already" in refusal


@pytest.mark.slow
def test_shapes_are_kept_by_command(call, tmp_path):
    """`--keep-shapes` keeps the shapes that the SavedModel declares."""
    source = tensorflow1_models.half_plus(tmp_path / "saved" / "1")
    arguments = ("--name", "half", "--models-dir", tmp_path, "--signature", "serving_default")

    code, _, stderr = call("saved-model", source, *arguments, "--keep-shapes")

    assert (code, stderr) == (0, "")
    session = onnxruntime.InferenceSession(tmp_path / "half" / "1" / "model.onnx")
    assert session.get_inputs()[0].shape == ["batch", 1]


@pytest.mark.slow
def test_version_is_the_folders_own_number_or_the_flags(call, tmp_path):
    """`--version` beats the number in the folder's name, and is refused for two versions."""
    base = tmp_path / "base"
    tensorflow1_models.half_plus(base / "00000041")
    arguments = ("--name", "half", "--models-dir", tmp_path / "models", "--keep-shapes")

    own = call("saved-model", base / "00000041", *arguments)
    chosen = call("saved-model", base / "00000041", *arguments, "--version", 7)
    tensorflow1_models.half_plus(base / "42")
    both = call("saved-model", base, *arguments, "--version", 8)

    assert (own[0], chosen[0], both[0]) == (0, 0, 2)
    assert own[1][-1].startswith(f"published {tmp_path}/models/half/41: ")
    assert chosen[1][-1].startswith(f"published {tmp_path}/models/half/7: ")
    assert "which has the versions 41, 42; pass the folder of one" in both[2]


@pytest.mark.parametrize("number", ["-1", "1.5", "one", str(2**63)])
def test_version_must_be_a_number(capsys, number):
    """A `--version` that is no number in range is a usage error that states the range."""
    with pytest.raises(SystemExit) as ended:
        main(["saved-model", "folder", "--name", "x", f"--version={number}"])

    assert ended.value.code == 2
    assert "expected a number from 0 to 9223372036854775807" in capsys.readouterr().err
