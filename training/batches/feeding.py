"""Batches in the forms that Keras' backends read."""

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from training.batches.augmentation import augment, mix_images, mix_targets
from training.batches.draws import Draws, Indices, draw, order
from training.data.cifar10 import CLASS_NAMES
from training.data.data_set import ImageRows
from training.settings.recipes import TrainConfig


def one_hot(
    labels: npt.NDArray[np.int64], classes: int = len(CLASS_NAMES)
) -> npt.NDArray[np.float32]:
    """Return one-hot targets: float32, shape (n, classes). Label smoothing needs this form."""
    return np.eye(classes, dtype=np.float32)[labels]


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """Shuffled, augmented batches of the training images; the last one may be smaller.

    Args:
        split: The training images.
        config: Seed, batch size and augmentation.
        classes: Number of classes.
        multiple: Every batch holds a multiple of this number of images, which several devices
            need. Images left over, others in each epoch, are not used in that epoch. It must
            divide the batch size.

    Attributes:
        epoch: Epoch from 0, set by EpochSetter at the start of each epoch. A counter in this class
            would restart at 0 after a resume.
        classes: Number of classes.
        side: Height and width of the images in pixels.
    """

    def __init__(
        self,
        split: ImageRows,
        config: TrainConfig,
        *,
        classes: int = len(CLASS_NAMES),
        multiple: int = 1,
        **kwargs: Any,  # noqa: ANN401  Keras' own
    ) -> None:
        super().__init__(**kwargs)
        self.epoch = 0
        self._used = len(split) // multiple * multiple
        self.side = split.side
        self._split = split
        self._config = config
        self.classes = classes
        self._order_of: tuple[int, npt.NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return math.ceil(self._used / self._config.batch_size)

    def __getitem__(self, batch: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Return a batch of the epoch: uint8 (b, side, side, 3) and float32 (b, classes)."""
        epoch, size = self.epoch, self._config.batch_size
        indices = self._order(epoch)[batch * size : (batch + 1) * size]
        images, targets, draws = self._augmented(indices, epoch)
        if self._config.mixup:
            partners, partner_targets, _ = self._augmented(draws.partner, epoch)
            images = mix_images(images, partners, draws.share)
            targets = mix_targets(targets, partner_targets, draws.share)
        return images, targets

    def _augmented(
        self, indices: Indices, epoch: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], Draws]:
        """Return images before they are mixed, with their targets and draws."""
        config = self._config
        draws = draw(indices, config, epoch, count=len(self._split))
        images = augment(
            self._split.take(indices),
            draws,
            crop_padding=config.crop_padding,
            cutout=config.cutout,
            magnitude=config.randaugment_magnitude,
        )
        return images, one_hot(self._split.labels[indices], self.classes), draws

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        cached = self._order_of
        if cached is None or cached[0] != epoch:
            indices = order(len(self._split), self._config.seed, epoch)
            cached = self._order_of = (epoch, indices[: self._used])
        return cached[1]


class ValidationBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """Batches of a split in its own order, for validation; attributes as of TrainingBatches."""

    def __init__(
        self,
        split: ImageRows,
        batch_size: int,
        *,
        classes: int = len(CLASS_NAMES),
        **kwargs: Any,  # noqa: ANN401  Keras' own
    ) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self.side = split.side
        self._split = split
        self._batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._split) / self._batch_size)

    def __getitem__(self, batch: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Return batch number `batch`: uint8 (b, side, side, 3) and float32 (b, classes)."""
        part = slice(batch * self._batch_size, (batch + 1) * self._batch_size)
        return self._split.take(part), one_hot(self._split.labels[part], self.classes)


def feed(batches: TrainingBatches | ValidationBatches) -> Any:  # noqa: ANN401  Keras takes either
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
            tf.TensorSpec((None, batches.side, batches.side, 3), tf.uint8),
            tf.TensorSpec((None, batches.classes), tf.float32),
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
