import argparse
import dataclasses
import re
from pathlib import Path

import pytest

from training.__main__ import main
from training.settings import arguments as command
from training.settings.recipes import TrainConfig


def test_help_names_every_setting_without_importing_keras(run_command):
    """--help is readable, complete, and answers without a Keras backend."""
    result = run_command("--help", env={"KERAS_BACKEND": "none-such"})

    assert result.returncode == 0
    assert "{simcnn,resnet50}" in result.stdout
    for flag in ("--recipe", "--data-dir", "--run-dir", "--epochs", "--seed", "--weights"):
        assert flag in result.stdout


def flags():
    """Every flag that --help shows."""
    actions = command.parser()._actions
    return [
        option
        for action in actions
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
        if option.startswith("--")
    ]


def test_every_flag_is_explained_in_the_documentation():
    """docs/retraining.md has each flag of --help, and none that does not exist."""
    page = (Path(__file__).parents[2] / "docs" / "retraining.md").read_text()

    known = set(flags()) - {"--help"}
    assert {flag for flag in known if f"`{flag}" not in page} == set()
    named = set(re.findall(r"`(--[a-z-]+)", page))
    assert named - known == set()


def test_every_setting_has_a_flag():
    """What TrainConfig can vary, the command line can; --jit is the flag of `xla`."""
    names = {flag[2:].replace("-", "_") for flag in flags()}
    settings = {field.name for field in dataclasses.fields(TrainConfig)} - {"model", "xla"}

    assert settings <= names
    assert "jit" in names


@pytest.mark.parametrize("flag", ["--jit", "--xla"])
def test_jit_is_the_flag_of_xla(flag):
    """The older name of the flag still works, and sets the same."""
    options = vars(command.parser().parse_args(["simcnn", flag, "on"]))

    assert options["xla"] == "on"
    assert "jit" not in options


@pytest.mark.parametrize(
    ("text", "count"), [("1", 1), ("8", 8), ("all", "all"), ("0", None), ("-1", None), ("x", None)]
)
def test_devices_are_a_number_or_all(text, count, capsys):
    """Anything but all and positive numbers is bad usage, with what is expected."""
    arguments = ["simcnn", f"--devices={text}"]
    if count is not None:
        assert command.parser().parse_args(arguments).devices == count
        return
    with pytest.raises(SystemExit):
        command.parser().parse_args(arguments)
    assert f"'{text}' received, expected 1 or more, or all" in capsys.readouterr().err


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
    """What a user got wrong is one line on standard error, without a traceback."""
    common = ["--data-dir", str(image_dir), "--run-dir", str(tmp_path)]

    code = main([*common, *arguments])

    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert code == 2
    assert len(error) == 1
    assert error[0].startswith(message)


def test_unknown_backend_is_one_line(run_command, tmp_path):
    """A misspelt KERAS_BACKEND is answered with those that exist."""
    result = run_command("simcnn", env={"KERAS_BACKEND": "tensorflo"}, cwd=tmp_path)

    assert result.returncode == 2
    assert result.stderr == (
        "error: KERAS_BACKEND is 'tensorflo', expected one of tensorflow, jax, torch\n"
    )


@pytest.mark.parametrize("arguments", [[], ["lenet"], ["simcnn", "--epochs", "ten"]])
def test_bad_usage_exits_2(arguments, capsys):
    """Missing or unparsable arguments end with usage and exit status 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert "usage: python -m training" in capsys.readouterr().err


def test_diverged_training_exits_1(image_dir, tmp_path, capsys):
    """A failed training is told apart from bad usage."""
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
    """Without --run-dir the run is in runs/MODEL-RECIPE; the last line gives the accuracy."""
    monkeypatch.chdir(tmp_path)
    arguments = ["simcnn", "--recipe", "report", "--epochs", "1", "--data-dir", str(image_dir)]

    codes = [main(arguments), main(arguments)]

    assert codes == [0, 0]
    first, second = [line for line in capsys.readouterr().out.splitlines() if "runs/" in line]
    assert first.startswith("runs/simcnn-report finished: ")
    assert "of 50 test images correct (95 % interval " in first
    assert second.startswith("runs/simcnn-report was finished before, nothing to train: ")
    assert (tmp_path / "runs" / "simcnn-report" / "metrics.json").exists()
