import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

from export.__main__ import main
from serving.repository import model_folder


def run(*arguments, **environment):
    """The command line in a process of its own, as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "export", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def call(monkeypatch, capsys):
    """The command line in this process: faster, for errors; gives code, stdout lines and stderr."""
    # main sets these for the whole process; monkeypatch puts them back.
    for name in ("KERAS_BACKEND", "CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL", "CIFAR10_DIR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")

    def invoke(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return invoke


def test_run_is_published_by_command(run_dir, image_dir, tmp_path):
    """Progress with timings on stdout, the folder and top-1 in the last line, stderr empty."""
    arguments = ("--models-dir", tmp_path, "--data-dir", image_dir, "--precision", "fp32")
    done = run(run_dir, *arguments, KERAS_BACKEND="jax")

    correct = json.loads((run_dir / "metrics.json").read_text())["top1"]
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0] == "KERAS_BACKEND=jax ignored: exports run on tensorflow"
    assert len([line for line in lines if re.search(r": \d+\.\d s$", line)]) == 8
    assert lines[-1].startswith(
        f"published {tmp_path}/simcnn/1: fp32, {correct:.2%} of 80 test images"
    )
    assert model_folder.read(tmp_path / "simcnn" / "1").signatures


def test_published_bytes_do_not_depend_on_the_process(published, run_dir, image_dir, tmp_path):
    """Another process with another hash seed writes the same model.onnx."""
    done = run(run_dir, "--models-dir", tmp_path, "--data-dir", image_dir, PYTHONHASHSEED="7")

    assert done.returncode == 0
    written = (tmp_path / "simcnn" / "1" / "model.onnx").read_bytes()
    assert written == (published.path / "model.onnx").read_bytes()


def test_failed_gate_exits_with_1(call, run_dir, image_dir, tmp_path):
    """A report on stderr, no traceback, nothing published."""
    shutil.copytree(run_dir, tmp_path / "run")
    metrics = json.loads((run_dir / "metrics.json").read_text())
    metrics["confusion_matrix"][0][0] += 1
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))

    code, _, stderr = call(
        tmp_path / "run", "--models-dir", tmp_path / "models", "--data-dir", image_dir
    )

    assert code == 1
    assert stderr.startswith("error: accuracy gate: ")
    assert "Traceback" not in stderr
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.parametrize("kind", ["missing", "unfinished", "no model"])
def test_unusable_run_exits_with_2(call, run_dir, tmp_path, kind):
    """One line on stderr that says what is wrong."""
    folder = tmp_path / "run"
    if kind != "missing":
        folder.mkdir()
        file = "config.json" if kind == "unfinished" else "metrics.json"
        shutil.copyfile(run_dir / file, folder / file)

    code, stdout, stderr = call(folder, "--models-dir", tmp_path / "models")

    assert code == 2
    assert stdout == []
    assert stderr.startswith(f"error: {'the training in ' if kind == 'unfinished' else ''}")
    assert stderr.count("\n") == 1


def test_precisions_are_chosen_by_command(call, run_dir, image_dir, tmp_path):
    """--precision w8 publishes that alone; the variant's figures are printed on the way."""
    arguments = ("--models-dir", tmp_path, "--data-dir", image_dir, "--precision")

    code, stdout, stderr = call(run_dir, *arguments, " w8")

    assert (code, stderr) == (0, "")
    assert any(re.match(r"model\.w8\.onnx: .* as fp32 answers, .* MB$", line) for line in stdout)
    assert stdout[-1].startswith(f"published {tmp_path}/simcnn/1: w8, ")
    assert [file.name for file in (tmp_path / "simcnn" / "1").glob("*.onnx")] == ["model.w8.onnx"]


@pytest.mark.parametrize("precisions", ["int4", "fp32,int4", "fp32 w8", ""])
def test_unknown_precisions_are_refused(call, run_dir, capsys, precisions):
    """Exit code 2, and the message lists those that exist."""
    with pytest.raises(SystemExit) as stop:
        call(run_dir, "--precision", precisions)

    assert stop.value.code == 2
    assert "received, expected a list of fp32, fp16, w8, int8" in capsys.readouterr().err


def test_wrong_data_exits_with_2(call, run_dir, tmp_path):
    """A data folder without CIFAR-10 is one line that says where to get it."""
    code, _, stderr = call(run_dir, "--models-dir", tmp_path / "models", "--data-dir", tmp_path)

    assert code == 2
    assert str(tmp_path) in stderr
    assert stderr.count("\n") == 1


def test_place_that_cannot_be_written_exits_with_2(call, two_signatures, tmp_path):
    """A models folder that is a file is one line that names the flag."""
    (tmp_path / "models").write_text("in the way")

    code, _, stderr = call(
        "saved-model", two_signatures, "--name", "two", "--models-dir", tmp_path / "models"
    )

    assert code == 2
    assert re.fullmatch(r"error: cannot write to .*/models/two .* --models-dir\n", stderr)


def test_saved_model_is_published_by_command(call, two_signatures, tmp_path):
    """The second form prints the signatures, and claims no accuracy."""
    code, stdout, stderr = call(
        "saved-model", two_signatures, "--name", "two", "--models-dir", tmp_path
    )

    assert (code, stderr) == (0, "")
    assert stdout[-1] == (
        f"published {tmp_path}/two/1: serving_default, sum/up "
        "(accuracy unknown: compared on random inputs)"
    )


def test_chosen_signatures_are_published(call, with_strings, tmp_path):
    """--signature leaves out what cannot be converted; without it the message points there."""
    arguments = ("saved-model", with_strings, "--name", "some", "--models-dir", tmp_path)

    refused, _, stderr = call(*arguments)
    code, _, _ = call(*arguments, "--signature", "summary")

    assert refused == 2
    assert stderr.endswith("pass --signature summary\n")
    assert code == 0
    assert list(model_folder.read(tmp_path / "some" / "1").signatures) == ["summary"]


def test_free_size_must_be_positive(call, tmp_path, capsys):
    """Bad usage is argparse's: exit code 2 and the flag's name."""
    with pytest.raises(SystemExit) as stop:
        call("saved-model", tmp_path, "--name", "x", "--free-size", "0")

    assert stop.value.code == 2
    assert "--free-size: 0 received, expected 1 or more" in capsys.readouterr().err


def test_free_size_reaches_the_random_inputs(call, tmp_path):
    """A model that wants five columns is published with --free-size 5."""
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
    """The line says which version has it, and how well it answers."""
    options = ["--precision", "w8", "--models-dir", tmp_path, "--data-dir", image_dir]

    code, lines, error = call("add-precision", published.path, *options)

    assert (code, error) == (0, "")
    assert re.fullmatch(
        rf"published {tmp_path}/simcnn/1: w8, \d+\.\d\d% of 80 test images correct .*", lines[-1]
    )


def test_fp32_cannot_be_added(call, published, capsys):
    """It is what a training makes."""
    with pytest.raises(SystemExit) as stopped:
        call("add-precision", published.path, "--precision", "fp32,w8")

    assert stopped.value.code == 2
    assert "fp32 received, expected others: it comes from a training" in capsys.readouterr().err
