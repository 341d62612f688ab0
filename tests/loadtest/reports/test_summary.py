from typing import get_args

import pytest
from sample_results import load_reports

from loadtest.report_schema import ScenarioKind
from loadtest.reports import summary
from loadtest.reports.collection import single
from loadtest.reports.configurations import (
    configurations,
)


def test_the_table_has_medians_with_their_range():
    """p50 of three repeats, and the verdict over them."""
    reports = [
        load_reports.changed(load_reports.report(n=2000), {"latency_ms.p50": p50_ms})
        for p50_ms in (2.5, 1.25, 3.0)
    ]
    group = configurations(load_reports.collection(reports).results)[0]

    row = summary.rows([group])[0]

    assert row.name == ("simcnn fp32", "SingleStream")
    assert row.figures[:2] == ("6,000 in 3", "2.50 (1.25 to 3.00)")
    assert row.verdict.text == "VALID"


def test_a_figure_that_some_repeats_lack_says_of_how_many_it_is():
    """A p99 that two of three repeats have is not passed off as that of three."""
    reports = [load_reports.report(n=n) for n in (1000, 300, 1000)]
    (group,) = configurations(load_reports.collection(reports).results)

    assert summary.spread_cell(group, "p99_ms").endswith(", 2 of 3 repeats")
    assert "repeats" not in summary.spread_cell(group, "p50_ms")


def test_a_headline_of_an_invalid_run_says_so():
    """The figures of a card are marked if their runs are not VALID."""
    report = load_reports.limited_by_client(load_reports.report())

    (line,) = summary.headlines(configurations(single(report).results))

    words = [text for _, text in line.figures]
    assert "p50 / p99, SingleStream, INVALID: client-cpu" in words
    assert "at most, SingleStream, INVALID: client-cpu" in words


def test_headlines_prefer_the_capacity_that_was_searched(matrix):
    """SingleStream's latency, the most images a second, and the rate within the bound."""
    lines = summary.headlines(configurations(matrix.results))

    words = {text: value for value, text in lines[0].figures}
    assert [line.label for line in lines] == ["simcnn fp32", "resnet50 fp32", "resnet50 w8"]
    assert words["most with p99 within 15 ms"] == "200 requests/s"
    assert words["p50 / p99, SingleStream"].endswith(" ms")


def test_a_capacity_that_was_not_confirmed_says_so():
    """The headline does not promise what no longer run has shown."""
    report = load_reports.capacity([(100, True, 3), (200, False, 30)])
    report = load_reports.changed(report, {"capacity.confirmed": False})

    lines = summary.headlines(configurations(single(report).results))

    assert ("100 requests/s", "most with p99 within 15 ms, not confirmed") in lines[0].figures


def test_a_capacity_of_a_busy_client_says_so():
    """The headline does not pass the generator's limit off as the server's."""
    report = load_reports.capacity([(100, True, 3), (200, False, 30)])
    report = load_reports.changed(report, {"capacity.limited_by": "client"})

    lines = summary.headlines(configurations(single(report).results))

    words = "most with p99 within 15 ms, limited by the client"
    assert ("100 requests/s", words) in lines[0].figures


@pytest.mark.parametrize("kind", get_args(ScenarioKind))
def test_every_scenario_has_headlines(kind):
    """A report of any one scenario can be summarised, also if no order of preference lists it."""
    report = load_reports.report(kind=kind)
    results = load_reports.collection([report]).results

    assert summary.headlines(configurations(results))
