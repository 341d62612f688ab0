import re
from typing import get_args

import pytest

from training.__main__ import main
from training.search import space
from training.settings.recipes import ConfigError, ModelName, RecipeName, from_recipe


def refuse_nothing(name, value):
    """Allow every value."""


@pytest.mark.parametrize("model", get_args(ModelName))
@pytest.mark.parametrize("recipe", get_args(RecipeName))
def test_every_value_of_a_default_space_is_allowed(model, recipe):
    """The ends of each range and all choices make valid settings, around the recipe's own value."""
    try:
        config = from_recipe(model, recipe)
    except ConfigError:
        return
    found = space.default(config, fixed=())

    assert {"learning_rate", "batch_size"} <= set(found)
    for name, parameter in found.items():
        for value in parameter.choices or (parameter.low, parameter.high):
            from_recipe(model, recipe, **{name: value})
        assert parameter.contains(getattr(config, name))


def test_a_default_space_has_what_the_recipe_uses():
    """Settings that are off, and those that the user chose, are not searched."""
    config = from_recipe("simcnn", "best")

    assert set(space.default(config, fixed=["batch_size", "model"])) == {
        *("learning_rate", "weight_decay", "label_smoothing", "ema_span", "crop_padding", "flip")
    }
    tuned = space.default(from_recipe("keras:MobileNetV3Small", "finetune"), fixed=())
    assert {"backbone_rate", "freeze_epochs"} <= set(tuned)
    assert not {"backbone_rate", "freeze_epochs", "mixup", "cutout"} & set(
        space.default(from_recipe("resnet50", "best"), fixed=())
    )
    assert {"mixup", "cutout"} <= set(space.default(from_recipe("resnet50", "gpu-15min"), fixed=()))


def test_a_body_is_not_frozen_for_the_whole_trial():
    """The range of freeze_epochs ends before the trial does."""
    config = from_recipe("resnet50", "finetune", epochs=3)

    assert space.default(config, fixed=())["freeze_epochs"].high == 2
    assert "freeze_epochs" not in space.default(
        from_recipe("resnet50", "finetune", epochs=1), fixed=()
    )


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("learning_rate=1e-4..1e-2", {"low": 1e-4, "high": 1e-2, "log": True}),
        ("learning-rate = 1e-4 .. 1e-2", {"low": 1e-4, "high": 1e-2, "log": True}),
        ("label_smoothing=0..0.1", {"low": 0.0, "high": 0.1, "log": False}),
        ("crop_padding=0..6", {"low": 0, "high": 6, "log": False}),
        ("batch_size=16,32,16", {"choices": (16, 32)}),
        ("flip=false", {"choices": (False,)}),
        ("optimizer=sgd,adamw", {"choices": ("sgd", "adamw")}),
    ],
)
def test_a_flag_narrows_the_space(flag, expected):
    """--param takes a range or a list; the scale is that of the setting."""
    found = space.parse(flag, refuse_nothing)

    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--param", "dropout=0..1"], "'dropout' is no setting that a search varies, expected one"),
        (["--param", "learning_rate"], "expected learning_rate=LOW..HIGH or learning_rate=A,B,C"),
        (["--param", "learning_rate=1..x"], "'x' received, expected numbers"),
        (["--param", "learning_rate=nan..1"], "'nan' received, expected numbers"),
        (["--param", "learning_rate=1e-2..1e-4"], "1e-2 is not below 1e-4, expected LOW..HIGH"),
        (["--param", "learning_rate=0..1"], "pass a list such as learning_rate=0,1"),
        (["--param", "batch_size=8,1.5"], "'1.5' received, expected whole numbers"),
        (["--param", "batch_size=0..8"], "batch_size is 0, expected 1 or more"),
        (["--param", "mixup=0.001..0.4"], "mixup is 0.001, expected 0, or 0.01 to 10"),
        (["--param", "flip=false..true"], "flip has no range, expected a list such as flip=false,"),
        (["--param", "optimizer=adam,lion"], "'lion' received, expected adam, adamw, sgd"),
        (["--param", "flip=true", "--flip"], "received with --flip; leave one of them out"),
        (["--param", "flip=true", "--param", "flip=false"], "is the second one of flip"),
        (["--recipe", "report"], "validation test received (recipe report): the test images would"),
        (["--trial-epochs", "90"], "received for a training of 60 epochs, expected at most as"),
        (["--models-dir", "m", "--no-refit"], "--models-dir received with --no-refit"),
        (["--name", "a"], "--name a received without --models-dir"),
        (["--data-dir", "nowhere"], "data folder nowhere does not exist"),
    ],
)
def test_what_cannot_be_searched_is_one_line_and_exit_2(
    flags, message, tmp_path, monkeypatch, capsys
):
    """Settings that do not exist, values that are not allowed, and flags that contradict."""
    monkeypatch.chdir(tmp_path)

    code = main(["search", "simcnn", *flags])

    error = capsys.readouterr().err
    assert code == 2
    assert re.fullmatch(r"error: .*\n", error)
    assert message in error
    assert not (tmp_path / "runs").exists()


def test_the_space_is_printed(capsys):
    """--show-space needs no data: it prints ranges, the recipe's values, and what may be added."""
    code = main(["search", "simcnn", "--show-space", "--param", "mixup=0.1..0.4", "--no-flip"])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[0] == "simcnn, recipe best: 60 epochs, trials of 15"
    shown = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[1:-1]}
    assert shown["learning_rate"] == "0.0003 to 0.03, log recipe: 0.003"
    assert shown["mixup"] == "0.1 to 0.4, log recipe: 0"
    assert "flip" not in shown
    assert lines[-1].startswith("more with --param: clip_norm, flip, cutout, ")
