"""The division of the data set into training and validation images."""

import numpy as np

from training.batches.draws import SPLIT, random_bits
from training.data.cifar10 import CLASS_NAMES, DataError, Split
from training.settings.recipes import TrainConfig


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
        bits = random_bits(config.seed, 0, np.arange(len(train), dtype=np.int64), SPLIT)
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
