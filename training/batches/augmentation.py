"""Augmentation of images with NumPy, by the choices of `draws`.

The arithmetic is that of integers, so that a program on another device can repeat every pixel; only
RandAugment is Pillow's.
"""

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from training.batches import beta, randaugment
from training.batches.draws import Draws

# Mean colour of CIFAR-10's training images. DeVries and Taylor fill with it, too (their images have
# the mean 0), because black squares would shift the statistics of batch normalisation.
CUTOUT_COLOUR = (125, 123, 114)


def augment(
    images: npt.NDArray[np.uint8],
    draws: Draws,
    *,
    crop_padding: int,
    cutout: int = 0,
    magnitude: int = 0,
) -> npt.NDArray[np.uint8]:
    """Take crops from images with a reflected border, mirror images, and cut squares out of them.

    RandAugment's operations come before the squares, as in its paper.

    Args:
        images: uint8, shape (n, height, width, 3).
        draws: The choices for these n images.
        crop_padding: Pixels added on each side before the crop; 0 for no crop.
        cutout: Side of the square that CUTOUT_COLOUR fills: the `cutout` rows from cutout_row -
            cutout // 2 on and as many columns, as far as they are in the image; 0 for none.
        magnitude: That of RandAugment, if the draws have operations.

    Returns:
        A new uint8 array of the shape of `images`.
    """
    if crop_padding:
        count, height, width, channels = images.shape
        border = (crop_padding, crop_padding)
        padded = np.pad(images, ((0, 0), border, border, (0, 0)), mode="reflect")
        # With each row flattened to bytes, a crop is a block of contiguous runs and copies faster.
        rows = padded.reshape(count, height + 2 * crop_padding, -1)
        windows = sliding_window_view(rows, (height, width * channels), axis=(1, 2))
        crops = windows[np.arange(count), draws.top, channels * draws.left]
        images = crops.reshape(images.shape)
    else:
        images = images.copy()
    images[draws.mirrored] = images[draws.mirrored, :, ::-1]
    if draws.operations.shape[1]:
        randaugment.apply(images, draws.operations, magnitude=magnitude, outside=CUTOUT_COLOUR)
    if cutout:
        images[_squares(draws, cutout, images.shape[1:3])] = CUTOUT_COLOUR
    return images


def _squares(draws: Draws, cutout: int, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return which pixels the squares cover: bool, shape (n, height, width)."""
    rows = _covered(draws.cutout_row, cutout, size[0])
    columns = _covered(draws.cutout_column, cutout, size[1])
    return rows[:, :, None] & columns[:, None, :]


def _covered(centre: npt.NDArray[np.int64], cutout: int, length: int) -> npt.NDArray[np.bool_]:
    """Return which of `length` rows or columns the squares cover: bool, shape (n, length)."""
    offset = np.arange(length) - (centre[:, None] - cutout // 2)
    return (offset >= 0) & (offset < cutout)


def mix_images(
    images: npt.NDArray[np.uint8],
    partners: npt.NDArray[np.uint8],
    share: npt.NDArray[np.float32],
) -> npt.NDArray[np.uint8]:
    """Return the mixtures of images and their partners, rounded half up.

    With k = share x 4096, an integer, a pixel is (k x image + (4096 - k) x partner + 2048) >> 12 in
    int32 arithmetic.

    Args:
        images: uint8, shape (n, height, width, 3).
        partners: The same shape.
        share: Weight of the images, see Draws: float32, shape (n,).

    Returns:
        A new uint8 array of the shape of `images`.
    """
    weight = (share * beta.STEPS).astype(np.int32)[:, None, None, None]
    total = weight * images + (beta.STEPS - weight) * partners + beta.STEPS // 2
    return (total // beta.STEPS).astype(np.uint8)


def mix_targets(
    targets: npt.NDArray[np.float32],
    partners: npt.NDArray[np.float32],
    share: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Return the mixtures of targets, float32 (n, classes); exact, because `share` is."""
    weight = share[:, None]
    return weight * targets + (1 - weight) * partners
