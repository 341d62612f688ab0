import numpy as np
import pytest

from training.batches.feeding import TrainingBatches
from training.batches.validation_split import held_out, split_validation
from training.data.cifar10 import DataError, Split
from training.settings.recipes import from_recipe


def test_stratified_validation_takes_the_same_share_of_each_class(split):
    """Three of 30 images of each class are held out by seed; each image is on one side only."""
    test = Split(images=split.images[:10], labels=split.labels[:10])
    config = from_recipe("simcnn", "best", seed=5)

    training, validation = split_validation(split, test, config)

    assert np.bincount(validation.labels).tolist() == [3] * 10
    assert np.bincount(training.labels).tolist() == [27] * 10
    both = [image.tobytes() for part in (training, validation) for image in part.images]
    assert sorted(both) == sorted(image.tobytes() for image in split.images)
    again = split_validation(split, test, config)[1]
    other = split_validation(split, test, from_recipe("simcnn", "best", seed=6))[1]
    assert (again.images == validation.images).all()
    assert (other.images != validation.images).any()


def test_tail_validation_is_keras_own_split(split):
    """The last tenth is held out; of 50,000 images that leaves 704 steps of 64."""
    config = from_recipe("resnet50", "report")

    training, validation = split_validation(split, split, config)

    assert (validation.images == split.images[270:]).all()
    assert (training.images == split.images[:270]).all()
    large = Split(
        images=np.broadcast_to(split.images[0], (50_000, 32, 32, 3)), labels=np.zeros(50_000, int)
    )
    assert len(TrainingBatches(split_validation(large, split, config)[0], config)) == 704


def test_report_protocol_validates_on_the_test_images(split):
    """SimCNN's report recipe trains on all training images."""
    test = Split(images=split.images[:10], labels=split.labels[:10])

    training, validation = split_validation(split, test, from_recipe("simcnn", "report"))

    assert training is split
    assert validation is test


def test_too_few_images_to_validate_are_refused(split):
    """With four images in each class 10 % rounds to none: DataError names the way out."""
    few = Split(images=split.images[:40], labels=split.labels[:40])

    with pytest.raises(DataError, match=r"40 training images leave 0 for validation"):
        split_validation(few, few, from_recipe("simcnn", "best"))


def test_held_out_images_of_published_models_stay_the_same():
    """The images that a seed holds out never change: exports of older runs select them again."""
    labels = np.arange(60) % 10

    held = held_out(labels, validation="stratified", fraction=1 / 3, seed=3)

    expected = [6, 7, 10, 11, 12, 13, 24, 28, 34, 35, 38, 41, 42, 43, 46, 49, 50, 55, 57, 59]
    assert np.flatnonzero(held).tolist() == expected
    assert not held_out(labels, validation="test", fraction=1 / 3, seed=3).any()


def test_validation_images_of_a_folder_are_the_last(split):
    """`folder` holds out the images that the data give; without any it is refused."""
    config = from_recipe("simcnn", "best", validation="folder")

    training, validation = split_validation(split, split, config, given=6)

    assert (len(training), len(validation)) == (len(split) - 6, 6)
    assert (validation.images == split.images[-6:]).all()
    with pytest.raises(DataError, match="the data have no validation images"):
        split_validation(split, split, config)
