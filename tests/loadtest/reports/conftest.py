"""The results that the tests of reports share."""

import load_reports
import matrix_reports
import pytest


@pytest.fixture(scope="session")
def matrix():
    """A whole matrix, with a capacity search in it."""
    search = load_reports.capacity([(100, True, 3), (400, False, 30), (200, True, 9)])
    return load_reports.collection([*matrix_reports.matrix(), search], name="both <models>")
