import keras
import numpy as np
import pytest

from training.batches.feeding import one_hot
from training.model import class_weights

LABELS = np.array([0] * 6 + [1] * 3 + [2], np.int64)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 2, (10, 4)).astype(np.float32)


def test_all_classes_with_images_have_the_same_sum():
    """The weights of the images add up to their number, a third for each of three classes."""
    weights = class_weights.balancing(LABELS, 4)

    sums = [weights[LABELS[label == LABELS]].sum() for label in range(3)]
    assert sums == pytest.approx([10 / 3] * 3)
    assert weights[3] == 0
    assert weights.dtype == np.float32


def test_the_loss_is_the_mean_of_the_classes(logits):
    """With weights, the loss of all images is the mean of the classes' mean losses."""
    weighted = class_weights.loss(LABELS, 4, weighted=True, label_smoothing=0.1)
    plain = class_weights.loss(LABELS, 4, weighted=False, label_smoothing=0.1)
    targets = one_hot(LABELS, 4)

    means = [float(plain(targets[label == LABELS], logits[label == LABELS])) for label in range(3)]

    assert float(weighted(targets, logits)) == pytest.approx(np.mean(means), rel=1e-5)
    assert float(weighted(targets, logits)) != pytest.approx(
        float(plain(targets, logits)), rel=0.01
    )


def test_equal_classes_change_nothing(logits):
    """With as many images of each class the loss is the ordinary one, for mixtures as well."""
    labels = np.arange(4, dtype=np.int64).repeat(5)
    targets = one_hot(np.arange(10, dtype=np.int64) % 4, 4)
    targets = 0.3 * targets + 0.7 * targets[::-1]
    weighted = class_weights.loss(labels, 4, weighted=True, label_smoothing=0.05)
    plain = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.05)

    assert float(weighted(targets, logits)) == pytest.approx(float(plain(targets, logits)))
