import time

import numpy as np
import pytest

from training.batches.augmentation import CUTOUT_COLOUR, augment, mix_images, mix_targets
from training.batches.draws import draw
from training.settings.recipes import from_recipe


def augmented(split, indices, *, epoch=0, **changes):
    config = from_recipe("simcnn", "best", **changes)
    draws = draw(indices, config, epoch, count=len(split))
    return augment(
        split.images[indices], draws, crop_padding=config.crop_padding, cutout=config.cutout
    )


@pytest.mark.parametrize("changes", [{}, {"cutout": 8}])
def test_augmentation_depends_on_the_image_and_not_on_its_batch(split, changes):
    """An image is augmented the same way alone, in a large batch, and in another order."""
    indices = np.arange(300)
    whole = augmented(split, indices, **changes)

    assert (augmented(split, indices[123:124], **changes)[0] == whole[123]).all()
    assert (augmented(split, indices[::-1], **changes)[::-1] == whole).all()


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
    config = from_recipe("simcnn", "best", crop_padding=0)
    augment(images, draw(np.arange(300), config, 0, count=300), crop_padding=0, cutout=8)

    assert (images == split.images).all()


def test_augmentation_is_fast():
    """Augmenting 50,000 images in batches of 128 takes less than 3 seconds of CPU time."""
    images = np.zeros((128, 32, 32, 3), np.uint8)
    config = from_recipe("simcnn", "best")
    began = time.process_time()
    for start in range(0, 50_000, 128):
        draws = draw(np.arange(start, start + 128), config, 0, count=50_000)
        augment(images, draws, crop_padding=4)

    assert time.process_time() - began < 3


@pytest.mark.parametrize("side", [1, 7, 8, 32])
def test_cutout_fills_a_square_around_its_centre(split, side):
    """The pixels of the drawn square have the mean colour, clipped at the border; no others do."""
    indices = np.arange(300)
    config = from_recipe("simcnn", "best", cutout=side)
    draws = draw(indices, config, 3, count=300)
    whole, cut = (augmented(split, indices, epoch=3, cutout=x) for x in (0, side))

    for image, before, row, column in zip(
        cut, whole, draws.cutout_row, draws.cutout_column, strict=True
    ):
        expected = before.copy()
        top, left = row - side // 2, column - side // 2
        expected[max(0, top) : top + side, max(0, left) : left + side] = CUTOUT_COLOUR
        assert (image == expected).all()


def test_cutout_squares_are_centred_anywhere(split):
    """The centres are spread evenly over all rows and columns; they differ between epochs."""
    indices = np.arange(32_000)
    config = from_recipe("simcnn", "best", cutout=8)
    draws = draw(indices, config, 0, count=len(indices))

    for centres in (draws.cutout_row, draws.cutout_column):
        counts = np.bincount(centres, minlength=32)
        assert len(counts) == 32
        assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)
    both = np.corrcoef(draws.cutout_row, draws.cutout_column)[0, 1]
    assert abs(both) < 5 / np.sqrt(len(indices))
    assert (draw(indices, config, 1, count=len(indices)).cutout_row != draws.cutout_row).any()


def test_mixed_pixels_are_rounded_half_up():
    """A mixed pixel is the exact mixture, rounded half up; a share of 1 or 0 leaves an image."""
    first, second = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    images, partners = (x.reshape(1, 256, 256, 1).astype(np.uint8) for x in (first, second))
    for steps in (0, 1, 1000, 2047, 2048, 4096):
        share = steps / 4096
        mixed = mix_images(images, partners, np.array([share], np.float32))

        exact = share * first + (1 - share) * second  # float64 holds it exactly
        assert mixed.dtype == np.uint8
        assert (mixed[0, :, :, 0] == np.floor(exact + 0.5)).all()


def test_mixed_targets_sum_to_one():
    """The targets of both images get their exact shares; two images of one class stay one-hot."""
    eye = np.eye(3, dtype=np.float32)
    share = np.array([0.25, 1, 1233 / 4096], np.float32)
    targets = mix_targets(eye[[0, 1, 2]], eye[[1, 0, 2]], share)

    assert targets.dtype == np.float32
    assert targets.tolist() == [[0.25, 0.75, 0], [0, 1, 0], [0, 0, 1]]
