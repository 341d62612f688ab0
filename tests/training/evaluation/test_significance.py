import itertools

import numpy as np
import pytest

from training.evaluation import significance
from training.evaluation.significance import LEVEL, holm, pairs_needed, sign_flip_p


def by_hand(differences) -> float:
    """Return the p-value by trying every choice of signs."""
    observed = abs(sum(differences)) - 1e-9
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(value >= observed for value in sums) / len(sums)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        pytest.param([], 1.0, id="none"),
        pytest.param([0.0, 0.0, 0.0], 1.0, id="equal"),
        pytest.param([0.2], 1.0, id="one-pair"),
        pytest.param([0.1, 0.3, 0.2], 2 / 8, id="three-that-agree"),
        pytest.param([-0.1, -0.3, -0.2, -0.1, -0.4, -0.2], 2 / 64, id="six-that-agree"),
        pytest.param([0.1, -0.1, 0.1], 1.0, id="equal-sums-count"),
        pytest.param([0.5, 0.5, 0.5, 0.5, 0.5, -0.1], 4 / 64, id="one-against"),
    ],
)
def test_the_p_value_is_a_share_of_all_choices_of_signs(differences, expected):
    """Three pairs that agree happen by luck one time in four, six one time in 32."""
    assert sign_flip_p(differences) == pytest.approx(expected)


@pytest.mark.parametrize("pairs", [1, 2, 7, 12])
def test_the_p_value_equals_the_one_by_hand(pairs):
    """For random differences the p-value is that of trying every choice of signs."""
    differences = np.random.default_rng(pairs).normal(0.3, 1, pairs)

    assert sign_flip_p(differences) == pytest.approx(by_hand(differences))


def test_halves_are_put_together():
    """Of 18 differences, more than one half holds, the p-value is the one by hand."""
    differences = np.random.default_rng(0).integers(-3, 5, 18)

    sums = np.array(list(itertools.product((1, -1), repeat=18))) @ differences
    expected = float((np.abs(sums) >= abs(differences.sum())).mean())
    assert sign_flip_p(differences) == pytest.approx(expected)


def test_many_pairs_are_tested_in_groups():
    """Forty pairs that agree have the lowest p-value of 30 groups."""
    assert sign_flip_p([0.1] * 40) == 2 / 2**30


def test_luck_alone_is_rarely_below_the_level():
    """Of 2,000 sets of eight differences around 0, at most 5 % and a little have p below 0.05."""
    random = np.random.default_rng(0)

    found = [sign_flip_p(random.normal(0, 1, 8)) < LEVEL for _ in range(2_000)]

    assert 0.03 < np.mean(found) < 0.06


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([0.03], [0.03], id="one"),
        pytest.param([0.01, 0.04, 0.03], [0.03, 0.06, 0.06], id="holms-example"),
        pytest.param([0.6, 0.02], [0.6, 0.04], id="order-kept"),
        pytest.param([0.5, 0.6], [1.0, 1.0], id="at-most-1"),
    ],
)
def test_holm_multiplies_by_the_tests_that_are_left(p_values, expected):
    """The lowest p-value counts n times, the next n - 1 times, never less than the one before."""
    assert holm(p_values) == pytest.approx(expected)


@pytest.mark.parametrize(("tests", "pairs"), [(0, 6), (1, 6), (2, 7), (8, 9), (80, 12)])
def test_the_pairs_needed_are_the_fewest(tests, pairs):
    """With so many pairs that agree the corrected p is below the level; with one less it is not."""
    agree = [0.1] * pairs

    assert pairs_needed(tests) == pairs
    assert max(1, tests) * sign_flip_p(agree) < LEVEL <= max(1, tests) * sign_flip_p(agree[1:])


@pytest.mark.parametrize(
    ("p_value", "text"), [(1.0, "1.00"), (0.25, "0.25"), (0.04951, "0.0495"), (9e-5, "< 0.0001")]
)
def test_a_p_value_keeps_the_digits_that_decide(p_value, text):
    """A p-value near the level has four digits; a tiny one is a bound."""
    assert significance.text(p_value) == text
