import argparse
import dataclasses
import re
from pathlib import Path

import pytest

from training.settings.arguments import default_run_dir, default_search_dir, parser
from training.settings.recipes import TrainConfig


def test_help_names_every_setting_without_importing_keras(run_command):
    """--help is complete and readable, and needs no Keras backend."""
    result = run_command("--help", env={"KERAS_BACKEND": "none-such"})

    assert result.returncode == 0
    assert "{simcnn,resnet50,keras:NAME}" in result.stdout
    for flag in ("--recipe", "--data-dir", "--run-dir", "--epochs", "--seed", "--weights"):
        assert flag in result.stdout


def test_default_folders_are_named_after_model_and_recipe():
    """A search has a folder beside that of the training; `keras:` is no part of the name."""
    assert default_run_dir("simcnn", None) == Path("runs/simcnn-best")
    assert default_run_dir("keras:MobileNetV3Small", None) == Path("runs/MobileNetV3Small-finetune")
    assert default_run_dir("resnet50", "gpu-5min") == Path("runs/resnet50-gpu-5min")
    assert default_search_dir("simcnn", "report") == Path("runs/search-simcnn-report")


def flags():
    """Return all flags that --help shows."""
    actions = parser()._actions
    return [
        option
        for action in actions
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
        if option.startswith("--")
    ]


def test_every_flag_is_explained_in_the_documentation():
    """docs/retraining.md has each flag of --help, and none that does not exist."""
    page = (Path(__file__).parents[3] / "docs" / "retraining.md").read_text()

    known = set(flags()) - {"--help", "--version"}
    assert {flag for flag in known if f"`{flag}" not in page} == set()
    named = set(re.findall(r"`(--[a-z-]+)", page))
    assert named - known == set()


def test_every_setting_has_a_flag():
    """Every field of TrainConfig has a flag; --jit is the flag of `xla`."""
    names = {flag[2:].replace("-", "_") for flag in flags()}
    settings = {field.name for field in dataclasses.fields(TrainConfig)} - {"model", "xla"}

    assert settings <= names
    assert "jit" in names


@pytest.mark.parametrize("flag", ["--jit", "--xla"])
def test_jit_is_the_flag_of_xla(flag):
    """--xla, the older name of --jit, sets the same value."""
    options = vars(parser().parse_args(["simcnn", flag, "on"]))

    assert options["xla"] == "on"
    assert "jit" not in options


@pytest.mark.parametrize(
    ("text", "count"), [("1", 1), ("8", 8), ("all", "all"), ("0", None), ("-1", None), ("x", None)]
)
def test_devices_are_a_number_or_all(text, count, capsys):
    """--devices takes "all" or a positive number; other values exit with what is expected."""
    arguments = ["simcnn", f"--devices={text}"]
    if count is not None:
        assert parser().parse_args(arguments).devices == count
        return
    with pytest.raises(SystemExit):
        parser().parse_args(arguments)
    assert f"'{text}' received, expected 1 or more, or all" in capsys.readouterr().err
