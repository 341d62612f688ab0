import numpy as np
import pytest

from training.data.cifar10 import Split
from training.report.sources import answers


def test_worst_answers_are_the_surest_wrong_ones():
    """Wrong answers are sorted by their probability, highest first; right answers are left out."""
    labels = np.array([0, 1, 2, 3])
    logits = np.zeros((4, 10), np.float32)
    logits[0, 0] = 9  # right
    logits[1, 5], logits[2, 5], logits[3, 5] = 1, 3, 2  # wrong

    found = answers.score(logits, Split(np.zeros((4, 32, 32, 3), np.uint8), labels))

    assert found.worst(2).tolist() == [2, 3]
    assert found.right.tolist() == [True, False, False, False]
    assert found.probabilities[2] == pytest.approx(np.exp(3) / (np.exp(3) + 9))
