"""The gain: a ratio of pairs, and an interval that agrees with the exact test."""

import math

import numpy as np
import pytest

from loadtest.tune.gain import compare
from training.evaluation.significance import LEVEL, sign_flip_p


def test_pairs_that_agree_have_an_interval_of_no_width():
    """If every pair has the same ratio, so has the interval."""
    gain = compare([110.0] * 8, [100.0] * 8)

    assert gain is not None
    assert gain.ratio == pytest.approx(1.1)
    assert gain.interval_95 == pytest.approx((1.1, 1.1))
    assert gain.is_clear
    assert str(gain) == "1.100 (1.100 to 1.100)"


def test_too_few_pairs_have_no_gain():
    """Five pairs that agree may be luck in one of 16 cases, so there is no 95 % interval."""
    assert compare([2.0] * 5, [1.0] * 5) is None
    assert compare([], []) is None


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_leaves_out_1_exactly_if_the_test_tells_the_cells_apart(seed):
    """Interval and p-value never contradict each other."""
    random = np.random.default_rng(seed)
    logs = random.normal(0.02, 0.03, 8)

    gain = compare(np.exp(logs).tolist(), [1.0] * 8)

    assert gain is not None
    low, high = gain.interval_95
    assert low < gain.ratio < high
    assert (low > 1 or high < 1) == (gain.p_value < LEVEL)
    assert gain.is_clear == (low > 1)
    # Just outside of the interval the test rejects, just inside it does not.
    for limit, outside in ((low, -1), (high, 1)):
        assert sign_flip_p(logs - math.log(limit) - outside * 1e-6) < LEVEL
        assert sign_flip_p(logs - math.log(limit) + outside * 1e-6) >= LEVEL


def test_the_interval_covers_the_true_ratio():
    """Of 400 intervals, nearly 95 % or more have the true ratio in them, for skewed noise, too."""
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        # The noise of a pair is the difference of two alike, however skewed they are.
        mine, yours = random.exponential(0.05, (2, 8))
        gain = compare((1.2 * np.exp(mine)).tolist(), np.exp(yours).tolist())
        assert gain is not None
        covered += gain.interval_95[0] <= 1.2 <= gain.interval_95[1]

    assert covered >= 0.93 * 400


def test_a_slower_cell_has_no_gain():
    """A ratio clearly below 1 is not a clear gain."""
    gain = compare([90.0] * 6, [100.0] * 6)

    assert gain is not None
    assert gain.interval_95[1] < 1
    assert not gain.is_clear
