"""The random choices of a training as functions of (seed, epoch, image index)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.batches import beta
from training.settings.recipes import TrainConfig

# Each purpose has its own number, so that its draws are independent of the others'.
SHUFFLE, AUGMENT, SPLIT, CUTOUT, PARTNER, SHARE, OPERATIONS = 1, 2, 3, 4, 5, 6, 7
# RandAugment has 14 operations, each in two directions. An operation takes 16 of 64 random bits.
_DIRECTED_OPERATIONS, _OPERATION_BITS = 28, 16

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The choices of augmentation for n images of an epoch, in arrays of shape (n,) unless noted.

    Attributes:
        top: int64: first row of the crop in the image with its border, 0 to 2 * crop_padding.
        left: int64: first column of the crop, in the same range.
        mirrored: bool: whether the image is mirrored.
        cutout_row: int64: row of the centre of the cutout square, 0 to below the image's
            size; 0 without cutout.
        cutout_column: int64: its column, in the same range.
        partner: int64: index of the training image that mixup mixes in, never the image itself
            unless it is the only one; without mixup the image itself.
        share: float32: weight of the image itself in the mixture, a multiple of 1 / beta.STEPS from
            0 to 1; the partner has the weight 1 - share. 1 without mixup.
        operations: int64, shape (n, m): RandAugment's operations in turn, each 2 x its number in
            randaugment.OPERATIONS, plus 1 for the negative direction; m is 0 without RandAugment.
    """

    top: Indices
    left: Indices
    mirrored: npt.NDArray[np.bool_]
    cutout_row: Indices
    cutout_column: Indices
    partner: Indices
    share: npt.NDArray[np.float32]
    operations: Indices


def draw(indices: Indices, config: TrainConfig, epoch: int, *, count: int) -> Draws:
    """Return the choices of augmentation for images.

    The partner of an image is augmented with the draws of its own index, and is not mixed again.

    Args:
        indices: int64, shape (n,): index of each image in the training images.
        config: Seed and augmentation of the training.
        epoch: Epoch, from 0.
        count: Number of training images, from which the partners are drawn.
    """
    bits = random_bits(config.seed, epoch, indices, AUGMENT)
    offsets = np.uint64(2 * config.crop_padding + 1)
    row, column = _cutout(indices, config, epoch)
    partner, share = _mixture(indices, config, epoch, count)
    return Draws(
        top=((bits >> np.uint64(1)) % offsets).astype(np.int64),
        left=((bits >> np.uint64(32)) % offsets).astype(np.int64),
        mirrored=(bits & np.uint64(config.flip)).astype(bool),
        cutout_row=row,
        cutout_column=column,
        partner=partner,
        share=share,
        operations=_operations(indices, config, epoch),
    )


def _operations(indices: Indices, config: TrainConfig, epoch: int) -> Indices:
    if not config.randaugment:
        return np.zeros((len(indices), 0), np.int64)
    bits = random_bits(config.seed, epoch, indices, OPERATIONS)
    shifts = _OPERATION_BITS * np.arange(config.randaugment, dtype=np.uint64)
    parts = (bits[:, None] >> shifts) & np.uint64(2**_OPERATION_BITS - 1)
    return (parts % np.uint64(_DIRECTED_OPERATIONS)).astype(np.int64)


def _cutout(indices: Indices, config: TrainConfig, epoch: int) -> tuple[Indices, Indices]:
    if not config.cutout:
        return np.zeros_like(indices), np.zeros_like(indices)
    bits = random_bits(config.seed, epoch, indices, CUTOUT)
    side = np.uint64(config.image_size)
    return (bits % side).astype(np.int64), ((bits >> np.uint64(32)) % side).astype(np.int64)


def _mixture(
    indices: Indices, config: TrainConfig, epoch: int, count: int
) -> tuple[Indices, npt.NDArray[np.float32]]:
    if not config.mixup:
        return indices, np.ones(indices.shape, np.float32)
    # A step of 1 to count - 1 from the image's own index, around the end.
    others = np.uint64(max(1, count - 1))
    steps = 1 + (random_bits(config.seed, epoch, indices, PARTNER) % others).astype(np.int64)
    share = beta.shares(random_bits(config.seed, epoch, indices, SHARE), config.mixup)
    return (indices + steps) % count, share


def order(count: int, seed: int, epoch: int) -> Indices:
    """Return the order of `count` images in an epoch: int64, shape (count,)."""
    indices = np.arange(count, dtype=np.int64)
    return np.argsort(random_bits(seed, epoch, indices, SHUFFLE), kind="stable")


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
