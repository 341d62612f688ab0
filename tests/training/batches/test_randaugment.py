import numpy as np
import pytest

from training.batches import randaugment
from training.batches.augmentation import CUTOUT_COLOUR, augment
from training.batches.draws import draw
from training.batches.feeding import TrainingBatches
from training.settings.recipes import ConfigError, from_recipe

GREY = (128, 128, 128)


def config(**changes):
    return from_recipe("resnet50", "finetune", **({"randaugment": 2} | changes))


def augmented(split, indices, *, epoch=0, **changes):
    settings = config(**changes)
    draws = draw(indices, settings, epoch, count=len(split))
    return augment(
        split.images[indices],
        draws,
        crop_padding=settings.crop_padding,
        cutout=settings.cutout,
        magnitude=settings.randaugment_magnitude,
    )


@pytest.mark.parametrize("changes", [{}, {"cutout": 8, "randaugment": 4}])
def test_an_image_is_changed_alike_in_every_batch(split, changes):
    """The operations depend on seed, epoch and image, and not on the batch or its order."""
    indices = np.arange(300)
    whole = augmented(split, indices, **changes)

    assert (augmented(split, indices[123:124], **changes)[0] == whole[123]).all()
    assert (augmented(split, indices[::-1], **changes)[::-1] == whole).all()
    for other in ({"epoch": 1}, {"seed": 1}):
        differ = (augmented(split, indices, **changes, **other) != whole).any(axis=(1, 2, 3))
        assert differ.mean() > 0.95


def test_the_other_choices_stay_as_they_are_without_it(split):
    """RandAugment draws from bits of its own: crop, mirror image, cutout and mixup are the same."""
    indices, settings = np.arange(300), {"cutout": 8, "mixup": 0.2}
    plain = draw(indices, config(randaugment=0, **settings), 3, count=300)
    with_it = draw(indices, config(**settings), 3, count=300)

    assert plain.operations.shape == (300, 0)
    for name in ("top", "left", "mirrored", "cutout_row", "cutout_column", "partner", "share"):
        assert (getattr(plain, name) == getattr(with_it, name)).all()


def test_operations_and_directions_are_drawn_evenly():
    """Each place has all 28 directed operations, independent of the other places."""
    operations = draw(np.arange(28_000), config(randaugment=4), 0, count=28_000).operations

    assert operations.shape == (28_000, 4)
    for place in operations.T:
        counts = np.bincount(place, minlength=28)
        assert len(counts) == 28
        assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)
    correlations = np.corrcoef(operations.T) - np.eye(4)
    assert np.abs(correlations).max() < 5 / np.sqrt(28_000)


def changed(number, magnitude, *, negative=False, image=None):
    """Return an image after one operation."""
    image = gradient() if image is None else image
    images = image[None].copy()
    operations = np.array([[2 * number + negative]])
    randaugment.apply(images, operations, magnitude=magnitude, outside=GREY)
    return images[0]


def gradient():
    rows, columns = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    return np.stack([60 + 2 * rows, 60 + 2 * columns, 100 + rows], axis=-1).astype(np.uint8)


def test_magnitude_zero_leaves_an_image_alone():
    """Only autocontrast and equalize, which have no magnitude, change an image then."""
    same = [(changed(number, 0) == gradient()).all() for number in range(14)]

    assert same == [True] * 12 + [False] * 2


@pytest.mark.parametrize("number", range(1, 12))
def test_a_larger_magnitude_changes_more(number):
    """The mean change grows with the magnitude; a direction changes what it should."""
    image = gradient()
    image[::2, ::2] //= 2  # edges, which sharpness changes
    change = [
        np.abs(changed(number, m, image=image).astype(int) - image.astype(int)).mean()
        for m in (5, 15, 30)
    ]

    assert change[0] <= change[1] < change[2]


def test_a_translation_moves_pixels_and_fills_with_the_given_colour():
    """At the largest magnitude an image of 32 pixels moves by 15 columns, either way."""
    left, right = changed(3, 30), changed(3, 30, negative=True)

    assert (left[:, :17] == gradient()[:, 15:]).all()
    assert (left[:, 17:] == GREY).all()
    assert (right[:, 15:] == gradient()[:, :17]).all()
    assert (right[:, :15] == GREY).all()


def test_posterize_and_solarize_have_their_ranges():
    """The largest magnitude leaves four bits of a colour, and inverts every pixel."""
    assert (changed(10, 30) == gradient() & 0xF0).all()
    assert (changed(11, 30) == 255 - gradient()).all()


def test_cutout_comes_last(split):
    """The square has the mean colour exactly: no operation changed it."""
    images = augmented(split, np.arange(300), cutout=32)
    draws = draw(np.arange(300), config(cutout=32), 0, count=300)

    rows = np.arange(300)
    assert (images[rows, draws.cutout_row, draws.cutout_column] == CUTOUT_COLOUR).all()


def test_training_batches_have_it(split):
    """The batches of a training are those of `augment` with the settings' magnitude."""
    settings = config(batch_size=300, randaugment_magnitude=20)
    batches = TrainingBatches(split, settings)
    images, _ = batches[0]
    weaker, _ = TrainingBatches(split, config(batch_size=300, randaugment_magnitude=1))[0]

    assert (images != weaker).any(axis=(1, 2, 3)).mean() > 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"randaugment": 5}, "randaugment is 5, expected 0 to 4 operations"),
        ({"randaugment_magnitude": 31}, "randaugment_magnitude is 31, expected 0 to 30"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    """The message has the range."""
    with pytest.raises(ConfigError, match=message):
        config(**changes)
