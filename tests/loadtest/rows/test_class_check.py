import numpy as np
import pytest

from loadtest.rows import class_check
from loadtest.rows.dataset import Dataset
from loadtest.settings.config import UsageError
from training.data.cifar10 import CLASS_NAMES

RENAMED = ("plane", *CLASS_NAMES[1:])


def dataset(*names: str, labelled: bool = True) -> Dataset:
    """Rows of these classes."""
    labels = np.zeros(2, np.int64) if labelled else None
    return Dataset(inputs=(), arrays={}, rows=2, labels=labels, class_names=names, source="photos")


@pytest.mark.parametrize(
    ("own", "names", "scores"),
    [
        pytest.param(("cat", "dog"), ("cat", "dog"), None, id="same names"),
        pytest.param(("cat", "dog"), (), 2, id="as many scores"),
        pytest.param(("cat", "dog"), (), None, id="nothing is known"),
        pytest.param((), ("cat", "dog"), 2, id="rows without class names"),
        pytest.param(CLASS_NAMES, RENAMED, 10, id="a model that renames a class of CIFAR-10"),
        pytest.param(CLASS_NAMES, (), 1000, id="a model of more classes"),
    ],
)
def test_classes_of_the_model_are_accepted(own, names, scores):
    """Equal names are right; without names, the number of scores decides."""
    class_check.check(dataset(*own), "m", names=names, scores=scores)


@pytest.mark.parametrize(
    ("own", "names", "scores", "message"),
    [
        (
            ("bird", "dog"),
            ("bird", "cat", "dog"),
            3,
            (
                "photos has 2 classes: bird, dog; expected the 3 of model 'm': bird, cat, dog; "
                r"add an empty folder for cat \(test/CLASS\)"
            ),
        ),
        (("a", "b"), (), 3, "expected as many as model 'm' has scores, 3; add an empty folder for"),
        (("cat", "notes"), ("cat",), 1, "rename or remove notes"),
        (("cat", "dog"), ("dog", "cat"), 2, "their order differs"),
        (("cat", "dog"), ("zebra", "dog", "cat"), 3, "their order differs"),
        (CLASS_NAMES, ("cat", "dog"), 2, r"read as CIFAR-10: .* a table of the pictures"),
        (CLASS_NAMES, CLASS_NAMES[::-1], 10, "read as CIFAR-10"),
        (CLASS_NAMES, (), 2, "has scores, 2; pictures of 32x32"),
        (tuple(f"c{n:02}" for n in range(15)), (), 3, r"c11, \.\.\. \(3 more\); expected"),
    ],
)
def test_other_classes_are_refused(own, names, scores, message):
    """The message has both lists of classes, and what makes them equal."""
    with pytest.raises(UsageError, match=message) as error:
        class_check.check(dataset(*own), "m", names=names, scores=scores)
    assert "\n" not in str(error.value)


def test_rows_without_labels_have_no_classes_to_compare():
    """Nothing is scored by labels then."""
    class_check.check(dataset("cat", "dog", labelled=False), "m", names=("fish",))


def test_the_number_of_scores_is_that_of_a_row():
    """Scores are floats with a row for each image, of whichever output has them."""
    classes = np.zeros(3, np.int64)
    scores = np.zeros((3, 7), np.float32)

    assert class_check.score_count({"y": scores}, "y") == 7
    assert class_check.score_count({"classes": classes, "probabilities": scores}, "classes") == 7
    assert class_check.score_count({"classes": classes}, "classes") is None
