import pytest
from msgspec.structs import replace
from sample_results import load_reports

from loadtest.report_schema import Report
from loadtest.report_traffic_schema import LoadPhase, MixTotals
from loadtest.reports import collection, traffic
from loadtest.reports.configurations import configurations
from loadtest.reports.pages import csv_table, html_page, markdown_page

SHAPE = "steps of 50, 100 requests/s, 10 s each"


def phase(**changes) -> LoadPhase:
    settings = {
        "name": "step 1, 50/s",
        "spans_seconds": [(0.0, 10.0)],
        "planned_rate_per_second": 50.0,
        "scheduled": 500,
        "answered": 498,
        "failed": 1,
        "missed": 1,
        "wrong": 3,
        "p50_ms": 1.5,
        "p90_ms": 2.5,
        "p99_ms": None,
        "max_ms": 9.0,
        "goodput_per_second": 49.5,
        "goodput_share": 0.99,
        "top1": 0.5,
    }
    return LoadPhase(**(settings | changes))


@pytest.fixture
def stepped() -> Report:
    """The report of a run with two phases."""
    made = load_reports.report(kind="server", rate=75, n=1000)
    second = phase(name="step 2, 100/s", spans_seconds=[(10.0, 20.0)])
    return load_reports.changed(made, {"scenario.shape": SHAPE, "phases": [phase(), second]})


def totals(**changes) -> MixTotals:
    settings = {
        "repeat": 1,
        "streams": ["small", "large"],
        "valid": False,
        "invalid_streams": ["large"],
        "seconds": 10.0,
        "scheduled": 1000,
        "answered": 990,
        "failed": 6,
        "missed": 4,
        "wrong": 2,
        "requests_per_second": 99.0,
        "images_per_second": 250.0,
        "client_cores": 0.5,
        "server_cores": None,
    }
    return MixTotals(**(settings | changes))


def test_each_phase_is_a_row(stepped):
    """Requests that failed, were missed or answered wrongly are the errors of the phase."""
    (table,) = traffic.phase_tables(configurations(collection.single(stepped).results))

    assert table.title == f"simcnn fp32, Server, {SHAPE}"
    assert table.rows[0] == (
        *("step 1, 50/s", "10", "50.0", "500", "5", "1.50", "2.50", "n/a", "9.00"),
        *("49.5", "99.0", "50.00"),
    )
    assert table.note == "n/a: p99 needs 662 answers in a phase."


def test_a_phase_says_why_it_has_no_figures(stepped):
    """Without a bound there is no goodput, without answers no accuracy."""
    empty = phase(
        scheduled=0,
        answered=0,
        wrong=0,
        max_ms=None,
        top1=None,
        goodput_per_second=0.0,
        goodput_share=None,
        p50_ms=None,
    )
    unbound = phase(goodput_per_second=None, goodput_share=None)
    report = replace(stepped, phases=[empty, unbound])

    (table,) = traffic.phase_tables(configurations(collection.single(report).results))

    assert "no request was due in the phase" in table.note
    assert "nothing was answered in the phase" in table.note
    assert "goodput needs a latency bound (--slo-ms)" in table.note
    assert "p50 needs" in table.note


def test_a_terminal_has_a_line_for_each_phase(stepped):
    """The line has the number of requests, the planned rate, latency, goodput and errors."""
    assert traffic.phase_lines(stepped)[0] == (
        "step 1, 50/s: 500 requests at 50.0/s, p50 1.50 ms, p99 n/a, 99.0 % good, 5 errors"
    )


def test_the_pages_show_phases_and_streams(stepped):
    """Markdown and HTML have the phases, the totals of a mix, and the plan beside latency."""
    stream = load_reports.changed(stepped, {"scenario.stream": "small", "scenario.mix": "a; b"})
    document = replace(collection.single(stream), mixes=[totals()])

    pages = [page.render(document, "0" * 64) for page in (markdown_page, html_page)]

    for text in pages:
        assert "All streams together" in text
        assert "INVALID: large" in text
        assert "step 2, 100/s" in text
        assert f"Server, {SHAPE}, stream small" in text
        assert "the mix did not start the server" in text
    assert "planned, mean of each phase" in pages[1]
    assert "Offered rate over time: simcnn fp32" in pages[1]


def test_a_steady_load_has_none_of_it():
    """The pages of another load name neither phases nor streams."""
    document = collection.single(load_reports.report(kind="server", rate=75))

    for page in (markdown_page, html_page):
        text = page.render(document, "0" * 64)
        assert "Phases" not in text
        assert "streams" not in text
        assert "Offered rate over time" not in text


def test_a_shape_is_no_point_of_the_rate_plots(stepped):
    """A shape has no rate of its own, so that its latency is not drawn over its mean rate."""
    (one,) = configurations(collection.single(stepped).results)
    row = csv_table.row(one.results[0], 1)

    assert one.load.rate is None
    assert (row["shape"], row["offered_rate_per_second"]) == (SHAPE, None)


def test_streams_and_shapes_are_loads_of_their_own(stepped):
    """The same rate alone, in a mix, and in another mix are not repeats of each other."""
    steady = load_reports.report(kind="server", rate=75)
    first, other = (
        load_reports.changed(steady, {"scenario.stream": "small", "scenario.mix": mix})
        for mix in ("small; large", "small; huge")
    )
    found = load_reports.collection([steady, stepped, first, other]).results

    assert len(configurations(found)) == 4


def test_the_totals_of_a_mix_are_a_line_too():
    """The line names the streams that are not VALID."""
    assert traffic.mix_line(totals()) == (
        "all 2 streams: INVALID: large, 990 answered, 6 failed, 4 missed, 2 wrong in 10.0 s; "
        "99.0 requests/s, 250 images/s, client 0.50 cores"
    )
    assert traffic.mix_line(totals(valid=True)).startswith("all 2 streams: VALID, ")


def test_merged_collections_keep_the_totals():
    """`report` on several mixes has the totals of each."""
    one = replace(collection.single(load_reports.report()), mixes=[totals()])

    assert collection.merge([one, one]).mixes == [totals()] * 2
