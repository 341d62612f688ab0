"""The division of the data set into training and validation images."""

import numpy as np
import numpy.typing as npt

from training.batches.draws import SPLIT, random_bits
from training.data.cifar10 import CLASS_NAMES, DataError, Split
from training.settings.recipes import TrainConfig, Validation


def trim(split: Split, multiple: int) -> Split:
    """Return the split without its last images, so that its length is a multiple of `multiple`."""
    used = len(split) // multiple * multiple
    return Split(images=split.images[:used], labels=split.labels[:used])


def held_out(
    labels: npt.NDArray[np.int64], *, validation: Validation, fraction: float, seed: int
) -> npt.NDArray[np.bool_]:
    """Return which training images a training does not train on, but validates with.

    It is a function of the labels and of three settings of the training, see TrainConfig, so that
    later programs find the same images.

    Args:
        labels: int64, shape (n,): labels of all training images, in their order.
        validation: "stratified", "tail", or "test", which holds out no training image.
        fraction: Share of the training images to hold out.
        seed: Seed of the training; "tail" ignores it.

    Returns:
        bool, shape (n,).
    """
    held = np.zeros(len(labels), dtype=bool)
    if validation == "tail":
        # Rounded like Keras' validation_split: 45,000 of 50,000 images remain for training.
        held[int(len(labels) * (1 - fraction)) :] = True
    elif validation == "stratified":
        bits = random_bits(seed, 0, np.arange(len(labels), dtype=np.int64), SPLIT)
        for label in range(len(CLASS_NAMES)):
            members = np.flatnonzero(labels == label)
            members = members[np.argsort(bits[members], kind="stable")]
            held[members[: round(len(members) * fraction)]] = True
    return held


def split_validation(train: Split, test: Split, config: TrainConfig) -> tuple[Split, Split]:
    """Return the training and validation images that `config.validation` selects.

    Raises:
        DataError: The fraction leaves no image for training or for validation.
    """
    if config.validation == "test":
        return train, test
    held = held_out(
        train.labels,
        validation=config.validation,
        fraction=config.validation_fraction,
        seed=config.seed,
    )
    if not held.any() or held.all():
        msg = (
            f"{len(train)} training images leave {np.count_nonzero(held)} for validation at a "
            f"fraction of {config.validation_fraction}; add images or change --validation-fraction"
        )
        raise DataError(msg)
    kept = Split(images=train.images[~held], labels=train.labels[~held])
    return kept, Split(images=train.images[held], labels=train.labels[held])
