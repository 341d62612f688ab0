import numpy as np
import pytest

from training.evaluation.paired import compare


def pair(both, only_first, only_second, neither):
    """Return two boolean arrays with the given numbers of images in each case."""
    first = [True] * both + [True] * only_first + [False] * only_second + [False] * neither
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return np.array(first), np.array(second)


def test_difference_counts_the_images_that_one_alone_gets_right():
    """The difference is (only first - only second) / n, positive if the first is better."""
    found = compare(*pair(60, 20, 5, 15))

    assert (found.n, found.only_first, found.only_second) == (100, 20, 5)
    assert found.difference == pytest.approx(0.15)
    low, high = found.interval_95
    assert low < 0.15 < high
    assert found.is_clear


def test_interval_is_agresti_and_mins():
    """The bounds equal the formula, calculated by hand for b = 20, c = 5, n = 100."""
    found = compare(*pair(60, 20, 5, 15))

    # (20.5 - 5.5) / 102 -+ 1.96 sqrt(26 - 15**2 / 102) / 102
    assert found.interval_95 == pytest.approx((0.053328, 0.240790), abs=1e-6)


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [(0, 0, 1.0), (1, 9, 22 / 1024), (9, 1, 22 / 1024), (5, 5, 1.0), (0, 6, 2 / 64)],
)
def test_p_value_is_that_of_fair_coin_tosses(only_first, only_second, expected):
    """McNemar's exact p-value equals sums of binomial probabilities."""
    assert compare(*pair(3, only_first, only_second, 3)).p_value == pytest.approx(expected)


def test_p_value_of_thousands_of_images_does_not_underflow_or_overflow():
    """On thousands of images a clear difference has a tiny p-value and a tie a p-value of 1."""
    assert 0 <= compare(*pair(4000, 2500, 500, 3000)).p_value < 1e-100
    assert compare(*pair(4000, 1500, 1500, 3000)).p_value == 1.0


@pytest.mark.parametrize(
    ("only_first", "apart"), [pytest.param(5, False, id="5"), pytest.param(6, True, id="6")]
)
def test_two_are_told_apart_by_the_exact_test(only_first, apart):
    """Of 5 images to none p is 0.0625: not told apart, although the approximate interval is."""
    found = compare(*pair(60, only_first, 0, 40 - only_first))

    assert found.interval_95[0] > 0
    assert (found.p_value < 0.05) is apart
    assert found.is_clear is apart


def test_same_answers_are_not_told_apart():
    """Two runs that are right on the same images have a difference of 0, inside the interval."""
    found = compare(*pair(90, 0, 0, 10))

    assert found.difference == 0
    assert not found.is_clear
    assert found.p_value == 1.0


def test_interval_covers_the_true_difference_in_95_of_100_samples():
    """In 4,000 samples of known shares about 95 % of the intervals hold the true difference."""
    random = np.random.default_rng(0)
    shares = (0.7, 0.12, 0.08, 0.1)  # both, only first, only second, neither: a difference of 0.04
    covered = 0
    for counts in random.multinomial(300, shares, size=4_000):
        low, high = compare(*pair(*counts)).interval_95
        covered += low <= 0.04 <= high

    assert 0.94 < covered / 4_000 < 0.965
