import bisect

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.monitoring.histogram import Histogram, exponential_limits


@example(limits=[1.0, 2.0], values=[1.0, 2.0])
@given(
    limits=st.lists(st.floats(-100, 100), unique=True).map(sorted),
    values=st.lists(st.floats(-200, 200)),
)
def test_a_histogram_counts_values_up_to_each_limit(limits, values):
    """Cumulative counts equal counts made by hand; a value equal to a limit counts as below it."""
    histogram = Histogram(limits)
    for value in values:
        histogram.observe(value)

    ordered = sorted(values)
    expected = [bisect.bisect_right(ordered, limit) for limit in limits]
    assert histogram.cumulative() == [*expected, len(values)]
    assert histogram.total == pytest.approx(sum(values))
    assert histogram.count == len(values)


def test_exponential_limits():
    """The first limit is the scale; each further limit is the previous one times the growth."""
    assert exponential_limits(1, 2, 5) == (1, 2, 4, 8, 16)
