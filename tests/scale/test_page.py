"""Tests of the figures of docs/scaling.md."""

import pytest
from scale import figures, page


def test_the_page_has_the_stored_figures():
    """The tables of docs/scaling.md are those of docs/results/scaling.json."""
    text = page.PAGE.read_text()

    assert page.rendered(text, figures.read()) == text


def test_a_page_without_the_marks_of_a_table_is_refused():
    """A table that the page has no place for is an error that names the marks."""
    with pytest.raises(ValueError, match="has 0 tables between"):
        page.rendered("no table", figures.read())


def test_the_service_times_contain_the_work_of_the_server():
    """A run of one row has the work of a lone call; each further row adds that of a busy server."""
    row = {"run_ms": {"1": 10.0, "3": 20.0}, "server_ms": 1.0, "busy_server_ms": 0.25}
    times = figures.service(row)

    assert times.seconds == pytest.approx((0.011, 0.01625, 0.0215))


def test_medians_are_taken_in_tables_and_lists():
    """The medians of several rounds keep the form of a round."""
    rows = [
        {"model": "simcnn", "ms": {"1": value}, "all": [value, 0.0]} for value in (1.0, 9.0, 2.0)
    ]

    assert figures.medians(rows) == {
        "rounds": 3,
        "model": "simcnn",
        "ms": {"1": 2.0},
        "all": [2.0, 0.0],
    }
