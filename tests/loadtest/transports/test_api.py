import numpy as np
import pytest

from loadtest.settings.config import UsageError
from loadtest.transports.api import ModelInput, check_input, read_classes

IMAGES = ModelInput("images", "uint8", (-1, 32, 32, 3))


def test_classes_are_taken_as_they_are():
    """Integer classes of any width are read, in shape (rows,) or (rows, 1)."""
    for classes in (np.array([3, 8]), np.array([[3], [8]], np.int32), np.array([3, 8], np.uint8)):
        found, name = read_classes({"classes": classes, "probabilities": np.eye(10)[[1, 1]]}, 2)
        assert (found.tolist(), name, found.dtype) == ([3, 8], "classes", np.int64)


@pytest.mark.parametrize("name", ["probabilities", "logits", "scores", "output_0", "dense_1"])
def test_without_classes_the_highest_score_decides(name):
    """Without classes, scores of any name are read; outputs of other shapes are ignored."""
    outputs = {name: np.eye(10, dtype=np.float32)[[7, 2]], "embedding": np.zeros((2, 3, 3))}

    found, read = read_classes(outputs, 2)

    assert (found.tolist(), read) == ([7, 2], name)


def test_probabilities_come_before_other_scores():
    """Probabilities are read before another float output that is alphabetically first."""
    outputs = {"auxiliary": np.eye(4)[[0, 0]], "probabilities": np.eye(10)[[7, 2]]}

    assert read_classes(outputs, 2)[0].tolist() == [7, 2]


def test_classes_in_words_leave_the_scores_to_decide():
    """If `classes` holds strings, as the classify signature's does, scores are read."""
    outputs = {"classes": np.array([b"cat", b"dog"], object), "scores": np.eye(10)[[3, 5]]}

    assert read_classes(outputs, 2)[0].tolist() == [3, 5]


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"classes": np.zeros(3, np.int64)}, r'"classes" is int64 of shape \(3,\)'),
        ({"y": np.zeros((3, 10), np.float32)}, r'"y" float32 of shape \(3, 10\) received'),
        ({"y": np.zeros((2, 1), np.float32)}, r"expected integers \"classes\" of shape \(2,\)"),
        ({}, "outputs none received"),
    ],
)
def test_what_says_no_class_cannot_be_scored(outputs, words):
    """Outputs without classes or scores raise ValueError with the received and expected outputs."""
    with pytest.raises(ValueError, match=words):
        read_classes(outputs, 2)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
@pytest.mark.parametrize("shape", [None, (-1, 32, 32, 3), (4, 32, 32, 3), (-1, -1, -1, 3)])
def test_images_fit(dtype, shape):
    """An input fits if its dtype holds pixels and its shape takes four images."""
    known = ModelInput("x", dtype, shape)

    assert check_input([known], model="m", batch=4) is known


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        pytest.param([IMAGES, IMAGES], 'inputs "images", "images", expected exactly', id="two"),
        pytest.param([], "inputs none", id="none"),
        pytest.param([ModelInput("x", "string", (-1,))], "is string, expected", id="strings"),
        pytest.param([ModelInput("x", "int8", None)], "is int8, expected", id="int8"),
        pytest.param(
            [ModelInput("x", "float32", (-1, 3, 32, 32))], r"\(-1, 3, 32, 32\)", id="planes"
        ),
        pytest.param([ModelInput("x", "float32", (-1, 3))], r"\(-1, 3\)", id="rank"),
        pytest.param(
            [ModelInput("x", "uint8", (1, 32, 32, 3))], r"takes \(4, 32, 32, 3\)", id="batch"
        ),
    ],
)
def test_images_that_do_not_fit_are_refused(inputs, words):
    """An input that does not fit raises UsageError with its name, dtype and shape."""
    with pytest.raises(UsageError, match=words):
        check_input(inputs, model="m", batch=4)
