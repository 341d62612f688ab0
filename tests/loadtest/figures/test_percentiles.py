import math

import numpy as np
import pytest

from loadtest.figures.percentiles import over_allowed, percentile, samples_needed

# MLPerf Inference's minimum query counts for early stopping: for each percentile and number of
# queries over the bound (binomial test, c = 0.99, d = 0).
OVER = (0, 1, 2, 5, 10, 20, 50, 100)
MINIMUM_QUERIES = {
    90: (44, 64, 81, 127, 197, 325, 681, 1_246),
    95: (90, 130, 165, 259, 398, 656, 1_372, 2_504),
    99: (459, 662, 838, 1_307, 2_010, 3_304, 6_898, 12_571),
    99.9: (4_603, 6_636, 8_403, 13_105, 20_140, 33_097, 69_058, 125_826),
}
TABLE = [
    (percent, over, needed)
    for percent, row in MINIMUM_QUERIES.items()
    for over, needed in zip(OVER, row, strict=True)
]


@pytest.mark.parametrize(
    ("percent", "needed"), [(50, 11), (90, 64), (95, 130), (99, 662), (99.9, 6_636)]
)
def test_samples_needed_is_mlperfs_table(percent, needed):
    """The samples needed are MLPerf's query count with one value over the bound."""
    assert samples_needed(percent) == needed


@pytest.mark.parametrize(("percent", "over", "needed"), TABLE)
def test_early_stopping_is_mlperfs_table(percent, over, needed):
    """MLPerf's query count for t requests over the bound allows t; one request fewer, t - 1."""
    assert samples_needed(percent, over) == needed
    assert over_allowed(needed, percent) == over
    assert over_allowed(needed - 1, percent) == (over - 1 if over else None)


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_samples_needed_is_the_smallest_with_99_percent_confidence(percent):
    """With one request fewer than needed, the chance of at most one value over is above 1 %."""

    def at_most_one_over(count: int) -> float:
        return sum(
            math.comb(count, over) * (1 - percent / 100) ** over * (percent / 100) ** (count - over)
            for over in (0, 1)
        )

    needed = samples_needed(percent)

    assert at_most_one_over(needed) <= 0.01 < at_most_one_over(needed - 1)


@pytest.mark.parametrize("percent", [0, 100, -1, 250])
def test_samples_needed_refuses_what_is_no_percentile(percent):
    """Percentiles 0 and 100 raise ValueError; the message names the received value."""
    with pytest.raises(ValueError, match=f"percentile {percent} received"):
        samples_needed(percent)


@pytest.mark.parametrize(("percent", "expected"), [(50, 500), (90, 900), (99, 990)])
def test_percentile_is_the_smallest_value_that_enough_values_do_not_exceed(percent, expected):
    """The 99th percentile of 1 to 1,000 in any order is 990, not an interpolated 990.01."""
    values = np.random.default_rng(0).permutation(np.arange(1, 1001))

    assert percentile(values, percent) == expected


def test_percentile_is_none_below_the_samples_needed():
    """661 values have no 99th percentile; for 662 it is the 656th value (662 * 0.99 rounded up)."""
    values = np.arange(1, 663)

    assert percentile(values[:661], 99) is None
    assert percentile(values, 99) == 656


def test_percentile_has_exactly_its_share_of_the_values():
    """Of 1 to 100,000, 99.9 % do not exceed 99,900; 99.9 / 100 as a float is a little more."""
    values = np.arange(1, 100_001)

    assert percentile(values, 99.9) == 99_900
    assert [percentile(values, percent) for percent in (50, 90, 95, 97, 99)] == [
        50_000,
        90_000,
        95_000,
        97_000,
        99_000,
    ]
