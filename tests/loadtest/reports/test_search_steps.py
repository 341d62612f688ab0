from sample_results import load_reports

from loadtest.reports import search_steps
from loadtest.reports.collection import single
from loadtest.reports.configurations import configurations


def test_steps_are_listed_with_what_cut_them_short():
    """Steps keep their order; steps cut short or limited by the client are marked."""
    report = load_reports.capacity(
        [(100, True, 3), (400, False, 30), (200, False, 20)], cut_short=(1,)
    )
    steps = report.capacity.steps
    busy = load_reports.changed(steps[2], {"client_limited": True})
    report = load_reports.changed(report, {"capacity.steps": [*steps[:2], busy]})

    (table,) = search_steps.tables(configurations(single(report).results))

    assert table.title == "simcnn fp32, find-capacity, p99 within 15 ms"
    assert table.heads[7] == "p99 (ms)"
    assert [(row[1], row[2].text, row[7]) for row in table.rows] == [
        ("100.0", "passed", "3.00"),
        ("400.0", "cut short", "30.00"),
        ("200.0", "failed (client)", "20.00"),
    ]


def test_repeats_of_a_search_are_tables_of_their_own():
    """Each repeat of a search has a table with its number in the title; other loads have none."""
    reports = [load_reports.capacity([(100, True, 3), (200, False, 30)]) for _ in range(2)]
    found = load_reports.collection([*reports, load_reports.report()]).results

    titles = [table.title for table in search_steps.tables(configurations(found))]

    assert [title.rpartition(", ")[2] for title in titles] == ["repeat 1", "repeat 2"]


def test_a_step_of_few_answers_says_how_many_a_percentile_needs():
    """The tail latency of a step of too few answers is n/a, and the note below has the number."""
    report = load_reports.capacity([(100, True, 3), (200, False, 30)])
    short = load_reports.changed(report.capacity.steps[1], {"percentile_ms": None})
    report = load_reports.changed(report, {"capacity.steps": [report.capacity.steps[0], short]})

    (table,) = search_steps.tables(configurations(single(report).results))

    assert [row[7] for row in table.rows] == ["3.00", "n/a"]
    assert table.note == "n/a: p99 needs 662 answers in a step."
