import keras
import numpy as np

from training.batches import draws
from training.batches.feeding import EpochSetter, TrainingBatches, ValidationBatches, feed
from training.batches.validation_split import trim
from training.data.cifar10 import Split
from training.settings.recipes import from_recipe


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


def test_mixed_images_depend_on_neither_batch_size_nor_order(split):
    """With mixup and cutout an epoch of batches of 7 has the images and targets of one of 300."""
    settings = {"mixup": 0.4, "cutout": 8, "seed": 3}
    small, large = (
        TrainingBatches(split, from_recipe("simcnn", "best", batch_size=size, **settings))
        for size in (7, 300)
    )
    small.epoch = large.epoch = 2
    images, targets = zip(*(small[number] for number in range(len(small))), strict=True)

    assert (np.concatenate(images) == large[0][0]).all()
    assert (np.concatenate(targets) == large[0][1]).all()


def test_mixed_images_are_mixtures_of_two_augmented_images(split):
    """Each image is the mixture of two images of the epoch without mixup, and its target, too."""
    settings = {"cutout": 8, "batch_size": 300}
    plain = TrainingBatches(split, from_recipe("simcnn", "best", **settings))
    config = from_recipe("simcnn", "best", mixup=1.0, **settings)
    mixed = TrainingBatches(split, config)
    images, targets = plain[0]
    indices = draws.order(300, 0, 0)
    place = {index: number for number, index in enumerate(indices)}
    drawn = draws.draw(indices, config, 0, count=300)
    partners = [place[index] for index in drawn.partner]
    weight = drawn.share[:, None].astype(np.float64)

    assert targets.shape == (300, 10)
    exact = weight * targets + (1 - weight) * targets[partners]
    assert (mixed[0][1] == exact).all()
    assert mixed[0][1].dtype == np.float32
    weight = weight[:, :, None, None]
    exact = weight * images + (1 - weight) * images[partners]
    assert (mixed[0][0] == np.floor(exact + 0.5)).all()


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
