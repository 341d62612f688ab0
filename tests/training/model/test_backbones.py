import inspect
from typing import get_args

import keras
import numpy as np
import pytest

from training.model import architectures, optimizer
from training.model.architectures import Interface
from training.settings.recipes import ConfigError, from_recipe
from training.settings.train_config import KERAS_PREFIX, ModelName

NAME = "keras:MobileNetV3Small"
INTERFACE = Interface(image_size=48, classes=3)
FAMILIES = [name for name in get_args(ModelName) if name.startswith(KERAS_PREFIX)]


@pytest.fixture(scope="module")
def body_weights(tmp_path_factory):
    """The file of weights of a body without top, as Keras distributes it, and the body."""
    keras.utils.set_random_seed(3)
    body = keras.applications.MobileNetV3Small(
        include_top=False, weights=None, input_shape=(48, 48, 3)
    )
    file = tmp_path_factory.mktemp("weights") / "body.weights.h5"
    body.save_weights(file)
    return file, body


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", FAMILIES)
def test_families_have_their_preprocessing_as_layers(name):
    """Every name is a function of keras.applications that puts the preprocessing in the graph."""
    family = getattr(keras.applications, name.removeprefix(KERAS_PREFIX))

    assert "include_preprocessing" in inspect.signature(family).parameters
    assert from_recipe(name, "finetune").recipe == "finetune"


def test_weights_of_a_file_are_those_of_the_body(body_weights, pixels):
    """The body gives the maps that keras.applications gives for the same raw pixels."""
    file, body = body_weights
    model = architectures.build(NAME, weights=str(file), interface=INTERFACE)
    copy = architectures.rebuild(model, NAME)

    theirs = body(pixels.astype(np.float32), training=False)
    ours = model.get_layer("body")(pixels.astype(np.float32), training=False)

    np.testing.assert_array_equal(ours, theirs)
    assert model.output_shape == (None, 3)
    np.testing.assert_allclose(copy(pixels), model(pixels, training=False), rtol=1e-5, atol=1e-6)


def test_weights_that_do_not_fit_are_refused(body_weights, tmp_path):
    """A file of another family, and a file that is none, are named."""
    file, _ = body_weights
    (tmp_path / "text.h5").write_text("no weights")
    for name, path in ((NAME, tmp_path / "text.h5"), ("keras:MobileNetV3Large", file)):
        with pytest.raises(ConfigError, match=f"could not get weights .* of {name}"):
            architectures.build(name, weights=str(path), interface=INTERFACE)


def step(model, pixels):
    """Train one batch, and return which share of the variables of body and head changed."""
    head = {id(variable) for variable in model.get_layer("logits").trainable_variables}
    before = [np.array(variable) for variable in model.trainable_variables]
    model.train_on_batch(pixels, np.eye(3, dtype=np.float32)[np.arange(8) % 3])
    moved = {True: 0.0, False: 0.0}
    for variable, old in zip(model.trainable_variables, before, strict=True):
        largest = float(np.abs(np.array(variable) - old).max())
        moved[id(variable) in head] = max(moved[id(variable) in head], largest)
    return moved[True], moved[False]


@pytest.mark.timeout(300)
def test_the_body_is_frozen_and_then_slower(body_weights, pixels):
    """In the frozen epoch only the head moves; then an Adam step of the body is a tenth as long."""
    file, _ = body_weights
    settings = {"epochs": 4, "schedule": "constant", "freeze_epochs": 1, "weight_decay": 0.0}
    config = from_recipe(NAME, "finetune", **settings)
    model = architectures.build(NAME, weights=str(file), interface=INTERFACE)
    model.compile(
        optimizer=optimizer.build(config, steps_per_epoch=1, model=model),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
    )

    frozen, slow = step(model, pixels), step(model, pixels)

    assert frozen[0] == pytest.approx(config.learning_rate, rel=0.05)
    assert frozen[1] == 0
    assert slow[0] > 0
    # Adam's step is at most the rate, up to a factor that its two means have in the second step.
    assert 0.3 < slow[1] / (config.backbone_rate * config.learning_rate) < 1.5


def test_settings_of_another_model_are_refused():
    """Stem and enlargement are those of resnet50, and the body cannot be frozen to the end."""
    for settings, message in (
        ({"stem": "cifar"}, "stem cifar received for keras:MobileNetV3Small"),
        ({"upsample": 2}, "upsample 2 received for keras:MobileNetV3Small"),
        ({"epochs": 3, "freeze_epochs": 3}, "freeze_epochs is 3, expected less than epochs"),
    ):
        with pytest.raises(ConfigError, match=message):
            from_recipe(NAME, "finetune", **settings)
