import keras
import numpy as np
import pytest

from training.data.cifar10 import CLASS_NAMES
from training.evaluation.accuracy import score, wilson_interval


@pytest.mark.parametrize(
    ("correct", "n", "expected"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (20, 20, (0.8389, 1.0)),  # the mirror image of 0 of 20
    ],
)
def test_wilson_interval_equals_published_values(correct, n, expected):
    """The interval equals published values and stays within 0 and 1 at the ends."""
    assert wilson_interval(correct, n) == pytest.approx(expected, abs=5e-5)


def test_score_counts_by_label_and_prediction():
    """Rows of the confusion matrix are labels, columns predictions; accuracies follow from it."""
    labels = np.array([0, 0, 0, 3, 3, 9])
    predictions = np.array([0, 0, 5, 3, 2, 9])
    logits = np.eye(10, dtype=np.float32)[predictions] * 10

    result = score(logits, labels)

    assert (result.n, result.top1) == (6, 4 / 6)
    assert result.confusion_matrix[0][0] == 2
    assert result.confusion_matrix[0][5] == 1
    assert result.confusion_matrix[3][2] == 1
    assert np.sum(result.confusion_matrix) == 6
    assert result.per_class_accuracy["airplane"] == 2 / 3
    assert result.per_class_accuracy["cat"] == 0.5
    assert result.per_class_accuracy["bird"] is None
    assert tuple(result.per_class_accuracy) == CLASS_NAMES


def test_loss_is_keras_cross_entropy():
    """The mean loss equals Keras' own, also for logits whose exponentials overflow float32."""
    random = np.random.default_rng(0)
    logits = (random.normal(size=(50, 10)) * 100).astype(np.float32)
    labels = random.integers(0, 10, 50)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    assert score(logits, labels).loss == pytest.approx(float(loss(labels, logits)), rel=1e-5)
