"""Augmentation of images with JAX: the pixels of `training.batches.augmentation`, bit for bit.

All arithmetic is that of integers. The functions can be called inside a compiled program.
"""

import jax
import jax.numpy as jnp

from training.batches import beta
from training.batches.augmentation import CUTOUT_COLOUR
from training.batches.draws import Draws


def augment(images: jax.Array, draws: Draws, *, crop_padding: int, cutout: int = 0) -> jax.Array:
    """Take crops from images with a reflected border, mirror images, and cut squares out of them.

    Args:
        images: uint8, shape (n, height, width, 3).
        draws: The choices for these n images, as arrays of JAX.
        crop_padding: Pixels added on each side before the crop; 0 for no crop.
        cutout: Side of the square that is filled; 0 for none.

    Returns:
        uint8, shape of `images`.
    """
    count, height, width, _ = images.shape
    steps = jnp.arange(width)
    steps = jnp.where(draws.mirrored[:, None], steps[::-1], steps)
    rows = _reflected(draws.top[:, None] + jnp.arange(height) - crop_padding, height)
    columns = _reflected(draws.left[:, None] + steps - crop_padding, width)
    # One gather takes crop and mirror image together, without a padded copy.
    images = images[jnp.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    if cutout:
        inside_rows = _covered(draws.cutout_row, cutout, height)
        inside_columns = _covered(draws.cutout_column, cutout, width)
        square = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]
        images = jnp.where(square, jnp.array(CUTOUT_COLOUR, jnp.uint8), images)
    return images


def mix_images(images: jax.Array, partners: jax.Array, share: jax.Array) -> jax.Array:
    """Return the mixtures of images, uint8 (n, height, width, 3), rounded half up.

    Args:
        images: uint8, shape (n, height, width, 3).
        partners: The same shape.
        share: Weight of the images: float32, shape (n,), multiples of 1 / beta.STEPS.
    """
    weight = (share * beta.STEPS).astype(jnp.int32)[:, None, None, None]
    total = weight * images + (beta.STEPS - weight) * partners + beta.STEPS // 2
    return (total // beta.STEPS).astype(jnp.uint8)


def mix_targets(targets: jax.Array, partners: jax.Array, share: jax.Array) -> jax.Array:
    """Return the mixtures of targets, float32 (n, classes); exact, because `share` is."""
    weight = share[:, None]
    return weight * targets + (1 - weight) * partners


def _reflected(places: jax.Array, length: int) -> jax.Array:
    """Return the row or column of the image at places in or beside it, reflected at its edges."""
    places = jnp.abs(places)
    return jnp.where(places < length, places, 2 * (length - 1) - places)


def _covered(centre: jax.Array, cutout: int, length: int) -> jax.Array:
    """Return which of `length` rows or columns the squares cover: bool, shape (n, length)."""
    offset = jnp.arange(length) - (centre[:, None] - cutout // 2)
    return (offset >= 0) & (offset < cutout)
