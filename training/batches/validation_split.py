"""The division of the data set into training and validation images."""

import numpy as np
import numpy.typing as npt

from training.batches.draws import SPLIT, random_bits
from training.data.cifar10 import DataError
from training.data.data_set import ImageRows
from training.settings.recipes import TrainConfig, Validation


def trim(split: ImageRows, multiple: int) -> ImageRows:
    """Return the split without its last images, so that its length is a multiple of `multiple`."""
    used = len(split) // multiple * multiple
    return split.subset(slice(used))


def held_out(
    labels: npt.NDArray[np.int64],
    *,
    validation: Validation,
    fraction: float,
    seed: int,
    given: int = 0,
) -> npt.NDArray[np.bool_]:
    """Return which training images a training does not train on, but validates with.

    It is a function of the labels and of three settings of the training, see TrainConfig, so that
    later programs find the same images.

    Args:
        labels: int64, shape (n,): labels of all training images, in their order.
        validation: "stratified", "tail", "folder", or "test", which holds out no training image.
        fraction: Share of the training images to hold out.
        seed: Seed of the training; only "stratified" reads it.
        given: Number of the last images, which "folder" holds out; see DataSet.validation_images.

    Returns:
        bool, shape (n,).
    """
    held = np.zeros(len(labels), dtype=bool)
    if validation == "tail":
        # Rounded like Keras' validation_split: 45,000 of 50,000 images remain for training.
        held[int(len(labels) * (1 - fraction)) :] = True
    elif validation == "folder":
        held[len(labels) - given :] = True
    elif validation == "stratified":
        bits = random_bits(seed, 0, np.arange(len(labels), dtype=np.int64), SPLIT)
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            members = members[np.argsort(bits[members], kind="stable")]
            held[members[: round(len(members) * fraction)]] = True
    return held


def split_validation(
    train: ImageRows, test: ImageRows, config: TrainConfig, *, given: int = 0
) -> tuple[ImageRows, ImageRows]:
    """Return the training and validation images that `config.validation` selects.

    Args:
        train: All training images.
        test: The test images.
        config: The settings.
        given: See `held_out`.

    Raises:
        DataError: The fraction leaves no image for training or for validation, or the data have no
            validation images of their own.
    """
    if config.validation == "test":
        return train, test
    held = held_out(
        train.labels,
        validation=config.validation,
        fraction=config.validation_fraction,
        seed=config.seed,
        given=given,
    )
    if config.validation == "folder" and not given:
        msg = (
            "validation folder received, but the data have no validation images; add them as "
            "val/CLASS/, or pass --validation stratified"
        )
        raise DataError(msg)
    if not held.any() or held.all():
        msg = (
            f"{len(train)} training images leave {np.count_nonzero(held)} for validation at a "
            f"fraction of {config.validation_fraction}; add images or change --validation-fraction"
        )
        raise DataError(msg)
    return train.subset(np.flatnonzero(~held)), train.subset(np.flatnonzero(held))
