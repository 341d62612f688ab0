import time

import keras
import numpy as np
import pytest

from training.batches import (
    EpochSetter,
    TrainingBatches,
    ValidationBatches,
    augment,
    feed,
    random_bits,
    split_validation,
    trim,
)
from training.data.cifar10 import DataError, Split
from training.settings.recipes import from_recipe


@pytest.fixture(scope="module")
def split():
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (300, 32, 32, 3), dtype=np.uint8)
    return Split(images=images, labels=np.arange(300) % 10)


def augmented(split, indices, **changes):
    options = {"seed": 0, "epoch": 0, "crop_padding": 4, "flip": True} | changes
    return augment(split.images[indices], indices, **options)


def test_random_bits_are_the_same_for_ever():
    """The random bits equal recorded values; if they changed, old runs could not be repeated."""
    bits = random_bits(7, 3, np.array([0, 1, 49_999]), 2)

    assert [f"{value:016x}" for value in bits] == [
        "8294b6b9374292b0",
        "a5801e47e244e70d",
        "da2c07a1d85ca9de",
    ]


def test_random_bits_are_even_and_independent():
    """Each bit is set half of the time, and neighbouring keys share bits only by chance."""
    indices = np.arange(20_000)
    shifts = np.arange(64, dtype=np.uint64)
    bits = {
        key: (random_bits(*key[:2], indices, key[2])[:, None] >> shifts) & np.uint64(1)
        for key in [(0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 2)]
    }

    # Five standard deviations of the mean of 20,000 coin flips.
    assert np.abs(bits[0, 0, 1].mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(20_000)
    for key in [(1, 0, 1), (0, 1, 1), (0, 0, 2)]:
        same = (bits[0, 0, 1] == bits[key]).mean(axis=0)
        assert np.abs(same - 0.5).max() < 5 * 0.5 / np.sqrt(20_000)


def test_augmentation_depends_on_the_image_and_not_on_its_batch(split):
    """An image is augmented the same way alone, in a large batch, and in another order."""
    indices = np.arange(300)
    whole = augmented(split, indices)

    assert (augmented(split, indices[123:124])[0] == whole[123]).all()
    assert (augmented(split, indices[::-1])[::-1] == whole).all()


@pytest.mark.parametrize("changes", [{"epoch": 1}, {"seed": 1}])
def test_augmentation_changes_with_epoch_and_seed(split, changes):
    """Nearly all images are augmented differently in another epoch or with another seed."""
    indices = np.arange(300)
    differ = (augmented(split, indices) != augmented(split, indices, **changes)).any(axis=(1, 2, 3))

    assert differ.mean() > 0.95


def test_crops_are_windows_of_the_reflected_image(split):
    """Every crop is one of the 81 windows of the image with a reflected border; all are used."""
    used = set()
    for index in range(300):
        padded = np.pad(split.images[index], ((4, 4), (4, 4), (0, 0)), mode="reflect")
        crop = augmented(split, np.array([index]), flip=False)[0]
        places = [
            (y, x)
            for y in range(9)
            for x in range(9)
            if (padded[y : y + 32, x : x + 32] == crop).all()
        ]
        assert len(places) == 1
        used.update(places)

    assert len(used) > 70  # 300 draws out of 81 leave about 2 unused


def test_flip_mirrors_half_of_the_images(split):
    """Without crops an image is either itself or its mirror image, half of the time each."""
    images = augmented(split, np.arange(300), crop_padding=0)
    kept = (images == split.images).all(axis=(1, 2, 3))
    mirrored = (images == split.images[:, :, ::-1]).all(axis=(1, 2, 3))

    assert (kept ^ mirrored).all()
    assert 100 < mirrored.sum() < 200


def test_augmentation_leaves_its_input_alone(split):
    """Augmentation does not modify its input arrays."""
    images = split.images.copy()
    augment(images, np.arange(300), seed=0, epoch=0, crop_padding=0, flip=True)

    assert (images == split.images).all()


def test_augmentation_is_fast():
    """Augmenting 50,000 images in batches of 128 takes less than 3 seconds of CPU time."""
    images = np.zeros((128, 32, 32, 3), np.uint8)
    began = time.process_time()
    for start in range(0, 50_000, 128):
        augment(images, np.arange(start, start + 128), seed=0, epoch=0, crop_padding=4, flip=True)

    assert time.process_time() - began < 3


def test_an_epoch_has_every_image_once_in_an_order_of_its_own(split):
    """The batches of an epoch hold every image once, in an order that differs between epochs."""
    config = from_recipe("simcnn", "report", batch_size=128)
    batches = TrainingBatches(Split(images=split.images, labels=np.arange(300) % 10), config)
    orders = []
    for batches.epoch in (0, 1, 0):
        content = [batches[number] for number in range(len(batches))]
        assert [len(labels) for _, labels in content] == [128, 128, 44]
        orders.append(np.concatenate([images for images, _ in content]))

    assert (orders[0] == orders[2]).all()
    assert (orders[0] != orders[1]).any()
    for order in orders:
        assert sorted(image.tobytes() for image in order) == sorted(
            image.tobytes() for image in split.images
        )


def test_batches_for_several_devices_leave_out_other_images_in_each_epoch(split):
    """With 7 devices batches are multiples of 7; the 6 images left out differ between epochs."""
    batches = TrainingBatches(split, from_recipe("simcnn", "report", batch_size=70), multiple=7)
    known = {image.tobytes() for image in split.images}
    left_over = []
    for batches.epoch in (0, 1):
        content = [batches[number][0] for number in range(len(batches))]
        assert [len(images) for images in content] == [70, 70, 70, 70, 14]
        used = {image.tobytes() for images in content for image in images}
        assert len(used) == 294
        left_over.append(known - used)

    assert left_over[0] != left_over[1]
    assert len(trim(split, 7)) == 294


def test_labels_follow_their_images(split):
    """After shuffling, each one-hot row is still its image's label."""
    batches = TrainingBatches(split, from_recipe("simcnn", "report"))
    label_of = dict(zip([image.tobytes() for image in split.images], split.labels, strict=True))
    images, targets = batches[0]

    assert targets.dtype == np.float32
    assert targets.sum(axis=1).tolist() == [1.0] * 32
    assert [label_of[image.tobytes()] for image in images] == targets.argmax(axis=1).tolist()


class RecordingBatches(TrainingBatches):
    """Batches that record the epoch of each request."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.asked = []

    def __getitem__(self, batch):
        self.asked.append((self.epoch, batch))
        return super().__getitem__(batch)


def test_resumed_fit_continues_with_the_right_epochs(split):
    """With initial_epoch=3 Keras' loop reads the batches of epochs 3 and 4, never of epoch 0."""
    batches = RecordingBatches(split, from_recipe("simcnn", "report", batch_size=100))
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(10))
    model.compile(loss="mse")
    # Keras reads the first batches once before the first epoch, to learn their shapes.
    batches.epoch = 99
    model.fit(
        feed(batches),
        initial_epoch=3,
        epochs=5,
        shuffle=False,
        verbose=0,
        callbacks=[EpochSetter(batches)],
    )

    asked = [key for key in batches.asked if key[0] != 99]
    assert sorted(asked) == [(epoch, batch) for epoch in (3, 4) for batch in range(3)]


def test_fed_batches_are_all_there_in_order(split):
    """Keras reads the same batches that the pipeline drew, and validation images in their order."""
    batches = ValidationBatches(split, 128)

    fed = [(np.asarray(images), np.asarray(targets)) for images, targets in feed(batches)]

    assert [len(images) for images, _ in fed] == [128, 128, 44]
    assert (np.concatenate([images for images, _ in fed]) == split.images).all()
    assert (np.concatenate([targets for _, targets in fed]).argmax(axis=1) == split.labels).all()


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
