import math

import numpy as np
import pytest

from export.gates import precision
from export.gates.precision import Comparison, Limits


def answers(right, lost, won, other=0):
    """Return the reference's classes, the candidate's classes, and the labels.

    Both are right on `right` images, only the reference on `lost`, only the candidate on `won`,
    and neither on `other`.
    """
    kinds = [(0, 0)] * right + [(0, 1)] * lost + [(1, 0)] * won + [(1, 2)] * other
    reference, candidate = np.array(kinds, np.int64).T
    return reference, candidate, np.zeros(len(kinds), np.int64)


def test_equal_answers_agree_and_lose_nothing():
    """Equal answers have agreement 1, drop 0 and a narrow interval around 0."""
    comparison = precision.compare(*answers(right=10_000, lost=0, won=0))

    assert comparison.agreement == 1
    assert comparison.drop_points == 0
    low, high = comparison.drop_interval_95
    assert -0.03 < low < 0 < high < 0.03


def test_drop_is_what_is_lost_less_what_is_won():
    """30 lost and 10 won of 1,000 images are a drop of 2 points; other errors only disagree."""
    comparison = precision.compare(*answers(right=940, lost=30, won=10, other=20))

    assert comparison.agreement == pytest.approx(0.94)
    assert comparison.drop_points == pytest.approx(2.0)


def test_interval_is_agresti_and_mins():
    """The interval for 30 lost and 10 won of 1,000 images follows Agresti and Min's formula."""
    comparison = precision.compare(*answers(right=960, lost=30, won=10))

    centre = (30.5 - 10.5) / 1002
    margin = 1.959964 * math.sqrt(41 - 20**2 / 1002) / 1002
    expected = (100 * (centre - margin), 100 * (centre + margin))
    assert comparison.drop_interval_95 == pytest.approx(expected, rel=1e-6)


def test_interval_covers_the_true_drop():
    """The interval covers the true drop in 93 to 97 % of 1,000 simulated test sets."""
    random = np.random.default_rng(0)
    true_drop = 100 * (0.012 - 0.008)

    inside = 0
    for right, lost, won in random.multinomial(2_000, [0.98, 0.012, 0.008], 1_000):
        low, high = precision.compare(*answers(right, lost, won)).drop_interval_95
        inside += low <= true_drop <= high

    assert 930 <= inside <= 970


def comparison(agreement, drop):
    return Comparison(agreement=agreement, drop_points=drop, drop_interval_95=(drop - 1, drop + 1))


def test_limits_are_kept_to_the_letter():
    """A variant at its limits passes; beyond them it gets an objection with figures for each."""
    limits = Limits(agreement=0.985, drop_points=0.5)

    assert precision.objections(limits, comparison(0.985, 0.5)) == []
    assert precision.objections(limits, comparison(0.9849, 0.51)) == [
        "agrees with fp32 on 98.49% of the images, at least 98.5% expected",
        "loses 0.51 points of accuracy (95 % interval -0.49 to 1.51), at most 0.5 expected",
    ]


def test_a_gain_is_no_loss():
    """A variant with a higher accuracy than fp32 gets no objection."""
    assert precision.objections(precision.LIMITS["w8"], comparison(0.995, -0.4)) == []


def test_as_fast_is_too_slow():
    """The objections name each batch size at which a variant is not faster than fp32."""
    assert precision.too_slow({1: 1.01, 32: 1.7}) == []
    assert precision.too_slow({1: 0.98, 32: 1.7}) == [
        "runs 0.98 times as fast as fp32 at batch 1, more than 1 expected"
    ]


def test_limits_are_the_documented_ones():
    """The limits for published variants are those of the documentation."""
    limits = {name: (x.agreement, x.drop_points) for name, x in precision.LIMITS.items()}

    assert limits == {"fp16": (0.998, 0.2), "w8": (0.99, 0.2), "int8": (0.985, 0.5)}
