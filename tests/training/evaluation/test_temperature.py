import numpy as np
import pytest

from training.evaluation import temperature
from training.evaluation.accuracy import calibration_error, score, softmax


def drawn(factor, count=20_000):
    """Logits of five classes, and labels drawn by their softmax; the logits are then scaled."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (count, 5)).astype(np.float32)
    chances = softmax(logits).cumsum(axis=1)
    labels = (random.random((count, 1)) > chances).sum(axis=1).astype(np.int64)
    return factor * logits, np.minimum(labels, 4)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_a_factor(factor):
    """Logits that are too large or small by a factor get this factor, and are then calibrated."""
    logits, labels = drawn(factor)

    found = temperature.fit(logits, labels)

    assert found == pytest.approx(factor, rel=0.05)
    names = [str(number) for number in range(5)]
    after = score(logits / np.float32(found), labels, None, names).calibration_error
    assert after < 0.012
    if factor != 1:
        assert score(logits, labels, None, names).calibration_error > 5 * after


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    """Four answers with 90 % of which half are right, and four certain ones that are: 20 %."""
    confidence = np.array([0.9] * 4 + [1.0] * 4)
    right = np.array([True, False, True, False] + [True] * 4)

    assert calibration_error(confidence, right) == pytest.approx(0.2)


def test_measures_of_rare_classes():
    """Balanced accuracy and macro F1 are means over classes, whatever the numbers of images."""
    logits = np.zeros((10, 3), np.float32)
    logits[:, 0] = 1  # always class 0
    labels = np.array([0] * 9 + [1])

    found = score(logits, labels, None, ["a", "b", "c"])

    assert found.top1 == 0.9
    assert found.balanced_accuracy == 0.5
    assert found.macro_f1 == pytest.approx((2 * 9 / 19) / 2)
