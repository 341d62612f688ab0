from sample_results import load_reports

from loadtest.reports.collection import single
from loadtest.reports.measures import MEASURES, Spread, missing
from loadtest.reports.unknown import NotAvailable, note, with_reason


def test_a_spread_is_of_the_values_that_are_there():
    """Median, lowest, highest and number; None where nothing was measured."""
    assert Spread.of([3.0, None, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0, n=3)
    assert Spread.of([None]) is None


def test_every_measure_reads_every_result(matrix):
    """No measure stumbles over what a result does not have."""
    results = [*matrix.results[:4], *single(load_reports.empty()).results]

    values = [measure.value(result) for measure in MEASURES.values() for result in results]

    assert all(value is None or value >= 0 for value in values)


def test_every_missing_figure_has_a_reason(matrix):
    """Each measure that a result lacks says why in its cell, whatever section is missing."""
    report = load_reports.report(kind="server", rate=300.0, floor=True)
    gaps = {
        "client.lag_ms.p99": None,
        "client.cpu_us_per_request": None,
        "goodput.per_second": None,
        "throughput.images_per_second": None,
        "throughput.requests_per_second": None,
        "floor.p50_ms": None,
        "floor.p99_ms": None,
        "server": {
            "n": 3,
            **{
                f"{part}_ms": {"p50": None, "p99": None}
                for part in ("queue", "compute", "serialise", "total")
            },
        },
    }
    search = load_reports.capacity([(100, True, 3), (200, False, 30)])
    results = [
        *matrix.results[:4],
        *(
            result
            for one in (
                load_reports.empty(),
                load_reports.changed(report, gaps),
                load_reports.changed(search, {"capacity.rate_per_second": None}),
            )
            for result in single(one).results
        ),
    ]

    cells = [measure.cell(result) for measure in MEASURES.values() for result in results]

    reasons = {cell.why for cell in cells if isinstance(cell, NotAvailable)}
    assert "p99 needs 662 answers in a run" in reasons
    assert "too few answers had server times" in reasons
    assert "no rate passed the search" in reasons
    assert all(with_reason(cell).startswith("n/a (") for cell in cells if cell == "n/a")


def test_missing_figures_are_listed_once():
    """A result of few answers lists each reason once, percentiles in their order."""
    (result,) = single(load_reports.report(n=300)).results

    reasons = missing(result)

    assert reasons[:2] == ["p99 needs 662 answers in a run", "p99.9 needs 6,636 answers in a run"]
    assert len(set(reasons)) == len(reasons)


def test_a_note_has_each_reason_of_a_table_once():
    """Texts with figures need no note."""
    few, none = NotAvailable("too few"), NotAvailable("none")

    assert (few, str(few), few.in_words) == ("n/a", "n/a", "n/a (too few)")
    assert note([["1.0", few], [none, few]]) == "n/a: too few; none."
    assert note([["1.0", "n/a of the server"]]) == ""
