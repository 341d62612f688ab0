"""The images that a training held out are found again from its settings."""

import json

import numpy as np
import pytest

from export.errors import ExportError
from export.sources import held_out
from training.batches.validation_split import split_validation
from training.data.cifar10 import load_split
from training.settings.recipes import from_recipe


@pytest.mark.parametrize("changes", [{}, {"seed": 7}, {"validation": "tail"}])
def test_they_are_the_validation_images_of_the_training(image_dir, run_config, changes):
    """The images and labels are those that the training validates with, in the same order."""
    train = load_split(image_dir, "train")
    config = from_recipe(**run_config.as_dict() | changes)

    found = held_out.select(train, {"config": config.as_dict()})

    trained_on, validated_with = split_validation(train, train, config)
    assert found.split.sha256() == validated_with.sha256()
    assert len(found.split) == 100
    np.testing.assert_array_equal(train.images[found.positions], found.split.images)
    seen = {image.tobytes() for image in trained_on.images}
    assert not seen & {image.tobytes() for image in found.split.images}


def test_record_selects_them_again(image_dir, run_dir):
    """The record has number, origin, settings and SHA-256 of the images, as JSON."""
    train = load_split(image_dir, "train")
    found = held_out.select(train, json.loads((run_dir / "metrics.json").read_text()))

    assert json.loads(json.dumps(found.as_dict())) == {
        "images": 100,
        "drawn_from": "400 training images",
        "validation": "stratified",
        "seed": 0,
        "sha256": found.split.sha256(),
    }


def test_validation_on_test_images_holds_out_none(image_dir):
    """A training that validated on the test images held out none, and none can be selected."""
    training = {"config": from_recipe("simcnn", "report").as_dict()}

    assert not held_out.any_image(training)
    with pytest.raises(ExportError, match=r"held out none of its 400 training images .*stratified"):
        held_out.select(load_split(image_dir, "train"), training)


def test_settings_that_are_newer_than_the_training_have_their_defaults():
    """A training that does not record how it validated held images out, as was the default."""
    assert held_out.any_image({"config": {"model": "simcnn"}})


def test_unknown_settings_are_refused():
    """Without the settings of the training, no image is assumed to be held out."""
    with pytest.raises(ExportError, match="does not record the settings of the training"):
        held_out.any_image({"recipe": "best"})
