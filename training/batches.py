"""Batches for training: validation split, shuffling and augmentation as functions of a seed.

Every random choice depends only on (seed, epoch, image index). An image is therefore augmented the
same way for every batch size and number of workers, and after a training was resumed.
"""

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from training.data.cifar10 import CLASS_NAMES, DataError, Split
from training.settings.recipes import TrainConfig

# Each purpose has its own number, so that its draws are independent of the others'.
_SHUFFLE, _AUGMENT, _SPLIT = 1, 2, 3


def random_bits(
    seed: int, epoch: int, indices: npt.NDArray[np.int64], purpose: int
) -> npt.NDArray[np.uint64]:
    """Return 64 random bits for each index, the same on every machine and NumPy version.

    The mixing function is SplitMix64's (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
    Generators", OOPSLA 2014), applied once for each part of the key.

    Args:
        seed: 0 to 2**32 - 1.
        epoch: 0 or more.
        indices: int64, any shape, 0 or more.
        purpose: Number of the purpose; other purposes give independent bits.

    Returns:
        uint64, shape of `indices`.
    """
    state = np.zeros_like(indices, dtype=np.uint64)
    for part in (np.uint64(seed), np.uint64(epoch), np.uint64(purpose), indices.astype(np.uint64)):
        state = (state ^ part) + np.uint64(0x9E3779B97F4A7C15)  # wraps around, as intended
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def augment(
    images: npt.NDArray[np.uint8],
    indices: npt.NDArray[np.int64],
    *,
    seed: int,
    epoch: int,
    crop_padding: int,
    flip: bool,
) -> npt.NDArray[np.uint8]:
    """Take random crops from images with a reflected border, and mirror half of the images.

    Args:
        images: uint8, shape (n, height, width, 3).
        indices: int64, shape (n,): index of each image in the data set, the key of its draw.
        seed: Seed of the training.
        epoch: Epoch, from 0.
        crop_padding: Pixels added on each side before the crop; 0 for no crop.
        flip: Mirror each image with probability one half.

    Returns:
        A new uint8 array of the shape of `images`.
    """
    bits = random_bits(seed, epoch, indices, _AUGMENT)
    if crop_padding:
        count, height, width, channels = images.shape
        border = (crop_padding, crop_padding)
        padded = np.pad(images, ((0, 0), border, border, (0, 0)), mode="reflect")
        # With each row flattened to bytes, a crop is a block of contiguous runs and copies faster.
        rows = padded.reshape(count, height + 2 * crop_padding, -1)
        windows = sliding_window_view(rows, (height, width * channels), axis=(1, 2))
        offsets = np.uint64(2 * crop_padding + 1)
        top = (bits >> np.uint64(1)) % offsets
        left = (bits >> np.uint64(32)) % offsets
        crops = windows[np.arange(count), top.astype(int), channels * left.astype(int)]
        images = crops.reshape(images.shape)
    else:
        images = images.copy()
    if flip:
        mirrored = (bits & np.uint64(1)).astype(bool)
        images[mirrored] = images[mirrored, :, ::-1]
    return images


def one_hot(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return one-hot targets: float32, shape (n, 10). Label smoothing needs this form."""
    return np.eye(len(CLASS_NAMES), dtype=np.float32)[labels]


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """Shuffled, augmented batches of the training images; the last one may be smaller.

    Args:
        split: The training images.
        config: Seed, batch size and augmentation.
        multiple: Every batch holds a multiple of this number of images, which several devices
            need. Images left over, others in each epoch, are not used in that epoch. It must
            divide the batch size.

    Attributes:
        epoch: Epoch from 0, set by EpochSetter at the start of each epoch. A counter in this class
            would restart at 0 after a resume.
    """

    def __init__(
        self,
        split: Split,
        config: TrainConfig,
        *,
        multiple: int = 1,
        **kwargs: Any,  # noqa: ANN401  Keras' own
    ) -> None:
        super().__init__(**kwargs)
        self.epoch = 0
        self._used = len(split) // multiple * multiple
        self._split = split
        self._config = config
        self._order_of: tuple[int, npt.NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return math.ceil(self._used / self._config.batch_size)

    def __getitem__(self, batch: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Return a batch of the current epoch: uint8 (b, 32, 32, 3) and float32 (b, 10)."""
        epoch, size = self.epoch, self._config.batch_size
        indices = self._order(epoch)[batch * size : (batch + 1) * size]
        images = augment(
            self._split.images[indices],
            indices,
            seed=self._config.seed,
            epoch=epoch,
            crop_padding=self._config.crop_padding,
            flip=self._config.flip,
        )
        return images, one_hot(self._split.labels[indices])

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        cached = self._order_of
        if cached is None or cached[0] != epoch:
            indices = np.arange(len(self._split), dtype=np.int64)
            order = np.argsort(
                random_bits(self._config.seed, epoch, indices, _SHUFFLE), kind="stable"
            )
            cached = self._order_of = (epoch, order[: self._used])
        return cached[1]


class ValidationBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """Batches of a split in its own order, for validation."""

    def __init__(self, split: Split, batch_size: int, **kwargs: Any) -> None:  # noqa: ANN401  Keras' own
        super().__init__(**kwargs)
        self._split = split
        self._batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._split) / self._batch_size)

    def __getitem__(self, batch: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Return batch number `batch`: uint8 (b, 32, 32, 3) and float32 (b, 10)."""
        part = slice(batch * self._batch_size, (batch + 1) * self._batch_size)
        return self._split.images[part], one_hot(self._split.labels[part])


def feed(batches: keras.utils.PyDataset) -> Any:  # noqa: ANN401  Keras takes either
    """Return the batches in the form that the Keras backend reads fastest.

    For TensorFlow, Keras wraps a PyDataset in a tf.data pipeline with autotuning. The autotuning
    thread stops only between its rounds: with TensorFlow 2.21 the end of an epoch waits for 10 ms,
    20 ms, 40 ms and so on, up to a minute, so that an epoch of 7 s takes 10 s. The pipeline built
    here does not autotune. Other backends get the PyDataset itself.
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf  # noqa: PLC0415  only the backend in use is installed

    dataset = tf.data.Dataset.from_generator(
        # Called at the start of every epoch, after EpochSetter has set the epoch.
        lambda: (batches[number] for number in range(len(batches))),
        output_signature=(
            tf.TensorSpec((None, 32, 32, 3), tf.uint8),
            tf.TensorSpec((None, len(CLASS_NAMES)), tf.float32),
        ),
    ).apply(tf.data.experimental.assert_cardinality(len(batches)))
    options = tf.data.Options()
    options.autotune.enabled = False
    # Several devices divide each batch; on one machine the data set itself is not sharded.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.prefetch(2).with_options(options)


class EpochSetter(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Sets the epoch of the batches, also after a resume."""

    def __init__(self, batches: TrainingBatches) -> None:
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Set the epoch of the batches, counted from 0."""
        self._batches.epoch = epoch


def trim(split: Split, multiple: int) -> Split:
    """Return the split without its last images, so that its length is a multiple of `multiple`."""
    used = len(split) // multiple * multiple
    return Split(images=split.images[:used], labels=split.labels[:used])


def split_validation(train: Split, test: Split, config: TrainConfig) -> tuple[Split, Split]:
    """Return the training and validation images that `config.validation` selects.

    Raises:
        DataError: The fraction leaves no image for training or for validation.
    """
    if config.validation == "test":
        return train, test
    held = np.zeros(len(train), dtype=bool)
    if config.validation == "tail":
        # Rounded like Keras' validation_split: 45,000 of 50,000 images remain for training.
        held[int(len(train) * (1 - config.validation_fraction)) :] = True
    else:
        bits = random_bits(config.seed, 0, np.arange(len(train), dtype=np.int64), _SPLIT)
        for label in range(len(CLASS_NAMES)):
            members = np.flatnonzero(train.labels == label)
            members = members[np.argsort(bits[members], kind="stable")]
            held[members[: round(len(members) * config.validation_fraction)]] = True
    if not held.any() or held.all():
        msg = (
            f"{len(train)} training images leave {np.count_nonzero(held)} for validation at a "
            f"fraction of {config.validation_fraction}; add images or change --validation-fraction"
        )
        raise DataError(msg)
    kept = Split(images=train.images[~held], labels=train.labels[~held])
    return kept, Split(images=train.images[held], labels=train.labels[held])
