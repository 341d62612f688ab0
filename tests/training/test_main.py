import re
import subprocess

import pytest
from PIL import Image

from training.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simcnn", "--epochs", "0"], "error: epochs is 0, expected 1 or more"),
        (["simcnn", "--upsample", "7"], "error: upsample 7 received for simcnn"),
        (
            ["simcnn", "--recipe", "report", "--early-stopping", "5"],
            "error: early_stopping 5 received with validation test: the test images would choose",
        ),
        (["simcnn", "--devices", "999"], "error: devices 999 received, but "),
        (["simcnn", "--data-dir", "nowhere"], "error: data folder nowhere does not exist"),
        (["simcnn", "--weights", "a.keras"], "error: weights 'a.keras' is no file"),
    ],
)
def test_bad_settings_and_data_are_one_line_and_exit_2(
    arguments, message, image_dir, tmp_path, capsys
):
    """Wrong settings or data print one line on standard error, no traceback; exit code 2."""
    common = ["--data-dir", str(image_dir), "--run-dir", str(tmp_path)]

    code = main([*common, *arguments])

    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert code == 2
    assert len(error) == 1
    assert error[0].startswith(message)


def test_unknown_backend_is_one_line(run_command, tmp_path):
    """A misspelt KERAS_BACKEND gives one line with the existing backends."""
    result = run_command("simcnn", env={"KERAS_BACKEND": "tensorflo"}, cwd=tmp_path)

    assert result.returncode == 2
    assert result.stderr == (
        "error: KERAS_BACKEND is 'tensorflo', expected one of tensorflow, jax, torch\n"
    )


@pytest.mark.parametrize("arguments", [[], ["lenet"], ["simcnn", "--epochs", "ten"]])
def test_bad_usage_exits_2(arguments, capsys):
    """Missing or malformed arguments print the usage and exit with code 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert "usage: python -m training" in capsys.readouterr().err


def test_diverged_training_exits_1(image_dir, tmp_path, capsys):
    """A diverged training exits with code 1, not 2."""
    code = main(
        [
            "simcnn",
            "--learning-rate=1e30",
            "--warmup-epochs=0",
            f"--data-dir={image_dir}",
            f"--run-dir={tmp_path}",
        ]
    )

    assert code == 1
    assert "error: loss is" in capsys.readouterr().err


def test_result_and_default_run_folder(image_dir, tmp_path, monkeypatch, capsys):
    """Without --run-dir the run is in runs/MODEL-RECIPE; the last line shows the accuracy."""
    monkeypatch.chdir(tmp_path)
    arguments = ["simcnn", "--recipe", "report", "--epochs", "1", "--data-dir", str(image_dir)]

    codes = [main(arguments), main(arguments)]

    assert codes == [0, 0]
    first, second = [line for line in capsys.readouterr().out.splitlines() if "runs/" in line]
    assert first.startswith("runs/simcnn-report finished: ")
    assert "of 50 test images correct (95 % interval " in first
    assert second.startswith("runs/simcnn-report was finished before, nothing to train: ")
    assert (tmp_path / "runs" / "simcnn-report" / "metrics.json").exists()


def test_a_newcomer_sees_the_training_and_nothing_else(run_command, image_dir, tmp_path):
    """A run prints no start-up notes of TensorFlow: its progress, and lines of this package."""
    run_dir = tmp_path / "run"
    result = run_command(
        *("simcnn", "--epochs=1", "--data-dir", image_dir, "--run-dir", run_dir),
        env={"TF_CPP_MIN_LOG_LEVEL": "2"},
    )

    assert result.returncode == 0
    assert re.fullmatch(
        r"simcnn, recipe best: epochs 1 to 1 on 180 images, 20 for validation; Keras .*\n"
        r"saving the model, and asking it about 50 test images\n",
        result.stderr,
    )
    lines = result.stdout.splitlines()
    assert lines[0] == "epoch 1 of 1: compiling the first step"
    assert lines[-2].startswith("epoch 1 of 1: loss ")
    assert lines[-1].startswith(f"{run_dir} finished: ")


def test_wrong_pictures_are_told_before_tensorflow_is_imported(command, tmp_path):
    """A folder of one class is refused in one line, and neither TensorFlow nor Keras is loaded."""
    (tmp_path / "data" / "train" / "cat").mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(tmp_path / "data" / "train" / "cat" / "1.png")
    arguments = command("simcnn", "--data-dir", tmp_path / "data", "--run-dir", tmp_path / "run")
    arguments[1:1] = ["-X", "importtime"]

    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)

    told = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2
    assert len(told) == 1
    assert "has only the class 'cat', expected two or more" in told[0]
    assert not re.search(r"\| +(keras|tensorflow)\b", done.stderr)
    assert not (tmp_path / "run").exists()
