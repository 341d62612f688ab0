import json
from pathlib import Path

import pytest

from training.settings.arguments import parser
from training.settings.recipes import ConfigError, changes_of_recipe, from_recipe
from training.settings.report_differences import REPORT_DIFFERENCES

ROOT = Path(__file__).parents[3]


def test_report_recipe_is_the_published_simcnn_protocol():
    """SimCNN's report recipe: Adam at its default rate, 10 epochs of batches of 32, no extras."""
    config = from_recipe("simcnn", "report")

    assert (config.optimizer, config.learning_rate, config.schedule) == ("adam", 1e-3, "constant")
    assert (config.batch_size, config.epochs) == (32, 10)
    assert config.validation == "test"
    assert (config.crop_padding, config.flip) == (0, False)
    assert (config.weight_decay, config.label_smoothing, config.ema_span) == (0, 0, 0)


def test_report_recipe_is_the_published_resnet50_protocol():
    """ResNet50's report recipe: ImageNet weights, Adam, 15 epochs of 64, last tenth held out."""
    config = from_recipe("resnet50", "report")

    assert (config.optimizer, config.learning_rate) == ("adam", 1e-3)
    assert (config.batch_size, config.epochs) == (64, 15)
    assert (config.validation, config.validation_fraction) == ("tail", 0.1)
    assert config.weights == "imagenet"


@pytest.mark.parametrize("model", ["simcnn", "resnet50"])
def test_report_recipe_says_where_it_differs_from_the_published_protocol(model):
    """--help and docs/retraining.md have every difference of the recipe."""
    page = (ROOT / "docs" / "retraining.md").read_text(encoding="utf-8")
    shown = " ".join(parser().format_help().split())
    section = page.partition("### Where `report` differs")[2].partition("\n## ")[0]

    assert REPORT_DIFFERENCES[model]
    for difference in REPORT_DIFFERENCES[model]:
        assert difference in shown
        assert f"- {difference}\n" in section


@pytest.mark.parametrize(("recipe", "minutes"), [("gpu-5min", 5), ("gpu-15min", 15)])
@pytest.mark.parametrize("changes", [{}, {"upsample": 1}, {"upsample": 4}, {"stem": "cifar"}])
def test_gpu_recipes_have_a_time_budget_at_every_size_of_image(recipe, minutes, changes):
    """The recipes for a GPU end in their time, and scale the rate of "best" with the batch."""
    config, best = from_recipe("resnet50", recipe, **changes), from_recipe("resnet50", "best")

    assert config.time_budget == 60 * minutes
    assert config.mixed_precision == "bfloat16"
    assert config.learning_rate / config.batch_size == best.learning_rate / best.batch_size
    assert (config.weights, config.validation) == ("none", "stratified")


def test_recipe_of_another_model_is_refused():
    """A recipe that the model lacks raises ConfigError with those that exist."""
    with pytest.raises(ConfigError, match=r"no recipe 'gpu-5min' for model 'simcnn'.*best for sim"):
        from_recipe("simcnn", "gpu-5min")


@pytest.mark.parametrize("model", ["simcnn", "resnet50"])
def test_best_recipe_needs_no_download_and_leaves_the_test_images_alone(model):
    """The best recipe starts from random weights and validates on training images."""
    config = from_recipe(model, "best")

    assert config.weights == "none"
    assert config.validation == "stratified"
    assert (config.crop_padding, config.flip, config.schedule) == (4, True, "cosine")


def test_overrides_replace_recipe_values_and_none_keeps_them():
    """A given value, also a falsy one, overrides the recipe's; None does not."""
    config = from_recipe("simcnn", "best", epochs=7, label_smoothing=0.0, batch_size=None, seed=3)

    assert (config.epochs, config.label_smoothing, config.seed) == (7, 0.0, 3)
    assert config.batch_size == 128


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (2, 1), (3, 2), (60, 2)])
def test_short_training_shortens_the_warm_up(epochs, warmup):
    """A training not longer than the recipe's warm-up has a warm-up of half its epochs."""
    assert from_recipe("simcnn", "best", epochs=epochs).warmup_epochs == warmup


def test_constant_schedule_has_no_warm_up():
    """With a constant schedule the recipe's warm-up is left out."""
    config = from_recipe("simcnn", "best", schedule="constant")

    assert (config.schedule, config.warmup_epochs) == ("constant", 0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epochs": 0}, r"epochs is 0, expected 1 or more"),
        ({"batch_size": 0}, r"batch_size is 0"),
        ({"learning_rate": -1.0}, r"learning_rate is -1.0, expected above 0"),
        ({"learning_rate": float("nan")}, r"learning_rate is nan"),
        ({"learning_rate": float("inf")}, r"learning_rate is inf"),
        ({"warmup_epochs": 60}, r"warmup_epochs is 60.*less than epochs \(60\)"),
        ({"weight_decay": -0.1}, r"weight_decay is -0.1"),
        ({"label_smoothing": 1.0}, r"label_smoothing is 1.0"),
        ({"clip_norm": -1.0}, r"clip_norm is -1.0, expected a norm above 0, or 0"),
        ({"clip_norm": float("nan")}, r"clip_norm is nan"),
        ({"time_budget": -1}, r"time_budget is -1, expected a number of seconds, or 0"),
        ({"ema_span": 1.0}, r"ema_span is 1.0"),
        ({"crop_padding": 32}, r"crop_padding is 32"),
        ({"cutout": 33}, r"cutout is 33, expected 0 to 32 pixels"),
        ({"mixup": -1.0}, r"mixup is -1.0, expected 0, or 0.01 to 10"),
        ({"mixup": float("nan")}, r"mixup is nan"),
        ({"validation_fraction": 1.0}, r"validation_fraction is 1.0"),
        ({"seed": -1}, r"seed is -1"),
        ({"accumulate_steps": 0}, r"accumulate_steps is 0, expected 1 or more"),
        ({"early_stopping": -1}, r"early_stopping is -1, expected a number of epochs, or 0"),
        (
            {"early_stopping": 3, "validation": "test"},
            r"early_stopping 3 received with validation test: .*--validation stratified",
        ),
        (
            {"schedule": "constant", "warmup_epochs": 2},
            r"warmup_epochs 2 received with a constant schedule",
        ),
        ({"upsample": 2}, r"upsample 2 received for simcnn"),
        ({"upsample": 3}, r"upsample is 3, expected 1, 2, 4 or 7"),
        ({"weights": "imagenet"}, r"weights imagenet received for simcnn"),
        ({"stem": "cifar"}, r"stem cifar received for simcnn; only resnet50 has a stem"),
    ],
)
def test_impossible_settings_are_refused(overrides, message):
    """A value out of range raises ConfigError that names it and what is expected."""
    with pytest.raises(ConfigError, match=message):
        from_recipe("simcnn", "best", **overrides)


def test_imagenet_weights_need_their_stem():
    """ImageNet's weights with the other stem are refused, with both ways out."""
    with pytest.raises(ConfigError, match=r"stem cifar.*--stem imagenet or --weights none"):
        from_recipe("resnet50", "best", weights="imagenet", stem="cifar")


def test_unknown_recipe_is_refused():
    """An unknown recipe raises ConfigError with the names of the known ones."""
    with pytest.raises(ConfigError, match=r"no recipe 'worst'.*report.*best"):
        from_recipe("simcnn", "worst")


def test_settings_newer_than_a_run_are_no_change():
    """Settings that are missing because the run is older do not count as changes."""
    settings = from_recipe("simcnn", "best").as_dict()
    del settings["fast_layers"]

    assert changes_of_recipe(settings) == {}


def test_run_that_is_older_than_a_setting_of_its_recipe_differs_from_it():
    """A run that lacks a setting was trained with its default, which is named as a change."""
    settings = from_recipe("simcnn", "best").as_dict()
    del settings["ema_span"]

    assert changes_of_recipe(settings) == {"ema_span": 0.0}


def test_published_run_differs_from_its_recipe_in_what_came_later():
    """The published ResNet50 was trained without clipping, which its recipe has today."""
    metrics = Path(__file__).parents[3] / "models" / "resnet50" / "1" / "metrics.json"
    settings = json.loads(metrics.read_text())["training"]["config"]

    changes = changes_of_recipe(settings)
    assert changes == {"clip_norm": 0.0, "mixed_precision": "bfloat16"}
    repeated = from_recipe(**settings | changes).as_dict()
    assert {name: repeated[name] for name in settings} == settings


def test_all_settings_of_an_unknown_recipe_are_named():
    """If the recipe no longer exists, all other settings of the run are returned."""
    settings = {"model": "simcnn", "recipe": "old", "seed": 0, "epochs": 5}

    assert changes_of_recipe(settings) == {"epochs": 5}
