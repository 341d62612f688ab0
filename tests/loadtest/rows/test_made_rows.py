"""Random rows and synthetic images."""

import numpy as np
import pytest

from loadtest.rows.random_rows import RandomRows
from loadtest.rows.synthetic_images import SHAPES, SyntheticImages, draw
from loadtest.settings.config import UsageError
from loadtest.transports.api import ModelInput


def random(*inputs, rows=500, seed=0, shapes=(), batch=1):
    return RandomRows(rows, seed, shapes).fit(inputs, model="m", batch=batch)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        *(("uint8", 0, 255), ("int8", 0, 9), ("int64", 0, 9), ("uint32", 0, 9)),
        *(("float16", 0, 1), ("float32", 0, 1), ("bfloat16", 0, 1), ("bool", False, True)),
    ],
)
def test_random_values_are_within_the_range_of_their_dtype(dtype, low, high):
    """uint8 takes all values, other integers are below ten, floats are from 0 to 1."""
    array = random(ModelInput("x", dtype, (-1, 20))).arrays["x"]

    assert array.shape == (500, 20)
    assert array.dtype.name == ("float32" if dtype == "bfloat16" else dtype)
    assert array.min() >= low
    assert array.max() <= high
    assert len(np.unique(array)) == (high - low + 1 if high > 1 else len(np.unique(array)))
    assert len(np.unique(array)) > 1


def test_random_texts_are_words():
    """Texts are bytes of one to eight words in letters."""
    texts = random(ModelInput("x", "string", (-1,))).arrays["x"]

    assert all(isinstance(text, bytes) for text in texts)
    assert {len(text.split()) for text in texts} <= set(range(1, 9))
    assert len(set(texts.tolist())) > 400


def test_the_seed_decides_the_values_and_the_order_of_inputs_does_not():
    """Equal seeds give equal rows, also if the metadata lists the inputs in another order."""
    x, y = ModelInput("x", "float32", (-1, 2)), ModelInput("y", "float32", (-1, 2))

    first, turned, other = random(x, y), random(y, x), random(x, y, seed=1)

    assert (first.arrays["x"] == turned.arrays["x"]).all()
    assert (first.arrays["x"] != first.arrays["y"]).any()
    assert first.sha256() == turned.sha256() != other.sha256()


def test_open_sizes_are_1_or_those_of_the_flag():
    """What the metadata leaves open is 1, with a note; --input-shape fills it without one."""
    open_input = ModelInput("x", "float32", (-1, -1, 3))

    assumed = random(open_input)
    asked = random(open_input, shapes=(("x", (4, 3)),))

    assert assumed.arrays["x"].shape == (500, 1, 3)
    assert "--input-shape x=" in assumed.notes[0]
    assert asked.arrays["x"].shape == (500, 4, 3)
    assert asked.notes == ()
    assert random(ModelInput("x", "float32", None)).arrays["x"].shape == (500,)


def test_a_scalar_is_the_same_in_every_request_and_a_fixed_batch_is_filled():
    """An input without a batch has no dimensions; rows fill every request of a fixed batch."""
    mixed = random(ModelInput("x", "int64", (-1,)), ModelInput("s", "float32", ()))
    fixed = random(ModelInput("x", "float32", (8, 2)), rows=20, batch=8)

    assert mixed.batch([3, 1])["s"].shape == ()
    assert mixed.batch([3, 1])["x"].shape == (2,)
    assert fixed.rows == 24


@pytest.mark.parametrize(
    ("known", "options", "words"),
    [
        (ModelInput("x", "of dtype 20", (-1,)), {}, "is of dtype 20"),
        (ModelInput("x", "int64", (4, 2)), {}, "--batch 4"),
        (ModelInput("x", "int64", (-1, 2)), {"shapes": (("x", (3,)),)}, r"\(3,\), expected \(2,\)"),
        (ModelInput("x", "int64", (-1,)), {"shapes": (("y", (3,)),)}, 'names "y", but'),
    ],
)
def test_rows_that_cannot_be_drawn_are_refused(known, options, words):
    """The message names the input and the way out."""
    with pytest.raises(UsageError, match=words):
        random(known, **options)


def test_random_rows_need_metadata():
    """Without metadata there is nothing to draw by."""
    with pytest.raises(UsageError, match="--inputs"):
        RandomRows(1, 0).fit(None, model="m", batch=1)


def test_synthetic_images_are_like_cifar_10s_and_follow_from_the_seed():
    """Ten classes of coloured shapes; the same seed gives the same images, fewer or more."""
    images, classes = draw(40, seed=3)

    assert (images.shape, images.dtype) == ((40, 32, 32, 3), np.uint8)
    assert np.bincount(classes).tolist() == [4] * len(SHAPES)
    assert len({image.tobytes() for image in images}) == 40
    assert images.std(axis=(1, 2, 3)).min() > 10
    assert (draw(5, seed=3)[0] == images[:5]).all()
    assert (draw(40, seed=4)[0] != images).any()


def test_synthetic_images_have_no_labels_and_say_so():
    """No model knows the classes, so accuracy is not measured; the notes say so."""
    dataset = SyntheticImages(20, 0).fit(None, model="m", batch=1)

    assert dataset.labels is None
    assert "accuracy" in dataset.notes[0]
    assert (dataset.unit, dataset.source, len(dataset)) == ("images", "synthetic, seed 0", 20)
