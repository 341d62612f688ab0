"""The results that the tests of reports share."""

import pytest
from sample_results import load_reports, matrix_reports


@pytest.fixture(scope="session")
def matrix():
    """A whole matrix, with a capacity search in it."""
    search = load_reports.capacity([(100, True, 3), (400, False, 30), (200, True, 9)])
    return load_reports.collection([*matrix_reports.matrix(), search], name="both <models>")
