import load_reports

from loadtest.reports.collection import single
from loadtest.reports.measures import MEASURES, Spread


def test_a_spread_is_of_the_values_that_are_there():
    """Median, lowest, highest and number; None where nothing was measured."""
    assert Spread.of([3.0, None, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0, n=3)
    assert Spread.of([None]) is None


def test_every_measure_reads_every_result(matrix):
    """No measure stumbles over what a result does not have."""
    results = [*matrix.results[:4], *single(load_reports.empty()).results]

    values = [measure.value(result) for measure in MEASURES.values() for result in results]

    assert all(value is None or value >= 0 for value in values)
