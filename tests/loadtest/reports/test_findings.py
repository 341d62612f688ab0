import pytest
from msgspec.structs import replace
from sample_results import load_reports

from loadtest.reports import findings, summary
from loadtest.reports.configurations import configurations
from loadtest.reports.findings import GateRow, Note, Verdict
from loadtest.settings.config import GateConfig
from loadtest.verdict import gates


def measured(*reports):
    """Return the configurations of reports."""
    return configurations(load_reports.collection(list(reports)).results)


def gated(report, **limits):
    """Return the report with gates for these limits."""
    return replace(report, gates=gates.apply(report, GateConfig(**limits), None))


def test_one_invalid_repeat_is_seen_in_the_verdict_with_its_reason():
    """If one repeat is INVALID, the verdict of its configuration is, with the repeat's reason."""
    found = measured(load_reports.report(), load_reports.report(reasons=("too few answers",)))

    assert summary.verdict(found[0]) == Verdict("1 of 2 VALID: check-0", valid=False)
    assert findings.complaints(found) == [
        Note("INVALID: too few answers", "simcnn fp32, SingleStream, repeat 2 of 2", bad=True)
    ]


def test_an_invalid_configuration_names_the_rules_that_it_broke():
    """The verdict INVALID in the tables has the names of the rules."""
    (found,) = measured(load_reports.limited_by_client(load_reports.report()))

    assert summary.verdict(found) == Verdict("INVALID: client-cpu", valid=False)


def busy(*numbers: int | None):
    """Return a run of 1, 2, 3, 3, 3 users each; those with a number warn of this load average."""
    return [
        replace(
            load_reports.report(kind="users", users=users),
            warnings=[] if number is None else [f"load average {number}.5 on 2 cores"],
        )
        for number, users in zip(numbers, (1, 2, 3, 3, 3), strict=True)
    ]


@pytest.mark.parametrize(
    ("numbers", "text", "where"),
    [
        pytest.param((0, 1, 2, 3, 4), "0.5 to 4.5", "all 5 runs", id="all"),
        pytest.param(
            (0, 1, 2, None, 3),
            "0.5 to 3.5",
            "simcnn fp32, users 1; simcnn fp32, users 2; "
            "simcnn fp32, users 3, repeats 1 and 3 of 3",
            id="three-configurations",
        ),
        pytest.param(
            (None, None, 2, 1, 2),
            "1.5 to 2.5",
            "simcnn fp32, users 3, all 3 repeats",
            id="all-repeats",
        ),
        pytest.param(
            (None, None, None, 7, None), "7.5", "simcnn fp32, users 3, repeat 2 of 3", id="one-run"
        ),
    ],
)
def test_a_note_names_its_runs_and_the_range_of_their_numbers(numbers, text, where):
    """Warnings that differ only in numbers are one note, with every run that has it."""
    notes = findings.complaints(measured(*busy(*numbers)))

    assert notes == [Note(f"load average {text} on 2 cores", where, bad=False)]


def test_the_end_of_a_run_is_noted_once():
    """The reason why a run ended is a reason for INVALID; the status adds no second note."""
    report = load_reports.report(reasons=("interrupted by SIGINT",))
    report = replace(report, status="interrupted", stop_reason="interrupted by SIGINT")

    notes = findings.complaints(measured(report))

    assert [note.text for note in notes] == ["INVALID: interrupted by SIGINT"]


def test_a_limit_of_the_client_is_no_note():
    """A busy load generator is in `client_limits`, for the head of the page, and in no note."""
    found = measured(load_reports.limited_by_client(load_reports.report()))

    (limit,) = findings.client_limits(found)

    assert limit.text.startswith("INVALID: the busiest load generator used 93 % of a core")
    assert limit.where == "simcnn fp32, SingleStream"
    assert findings.complaints(found) == []


def test_a_search_that_the_client_limited_is_named():
    """A search whose rate the client limited is named, even if all of its runs are VALID."""
    report = load_reports.capacity([(100, True, 3), (200, False, 30)])
    found = measured(load_reports.changed(report, {"capacity.limited_by": "client"}))

    (limit,) = findings.client_limits(found)

    assert limit.text == (
        "the search ended at 200.0 requests/s because the load generator could not keep up"
    )
    assert findings.client_limits(measured(report)) == []


def test_gates_are_rows_and_no_notes():
    """Each gate is a row with limit, measured value and verdict; failed gates come first."""
    found = measured(gated(load_reports.report(top1=0.82), min_accuracy=0.9))

    rows = findings.gates(found)

    top1 = f"top-1 {100 * found[0].reports[0].accuracy.top1:.2f} %"
    errors = "0 requests failed and 0 were missed of 1,000"
    assert rows[0] == GateRow("accuracy", "at least 90 %", top1, Verdict("FAILED", False), None)
    assert GateRow("errors", "at most 0 %", errors, Verdict("ok", True), None) in rows
    assert len(findings.gate_heads(found)) == len(rows[0].cells) == 4
    assert findings.complaints(found) == []
    (failed,) = findings.failed_gates(found, None)
    assert failed.text == f"accuracy: {top1}, at least 90 %"


def test_the_gate_that_repeats_why_a_run_ended_is_left_out():
    """The gate with the text of the stop reason is left out; the page's head has that reason."""
    found = measured(gated(replace(load_reports.report(), stop_reason="interrupted by SIGINT")))

    assert findings.failed_gates(found, "interrupted by SIGINT") == []
    assert len(findings.failed_gates(found, None)) == 1


def test_a_gate_that_many_runs_passed_is_one_row_with_the_range_of_its_numbers():
    """A gate that three runs passed is one row; the run that failed it is another row."""
    reports = [
        gated(load_reports.report(n=1000)),
        gated(load_reports.report(n=900)),
        gated(load_reports.report(kind="users", users=4, n=2000)),
        gated(load_reports.changed(load_reports.report(n=800), {"requests.failed": 7})),
    ]

    rows = [row for row in findings.gates(measured(*reports)) if row.name == "errors"]

    assert [(row.measured, row.verdict.text, row.where) for row in rows] == [
        (
            "7 requests failed and 0 were missed of 800",
            "FAILED",
            "simcnn fp32, SingleStream, repeat 3 of 3",
        ),
        (
            "0 requests failed and 0 were missed of 900 to 2,000",
            "ok",
            "simcnn fp32, SingleStream, repeats 1 and 2 of 3; simcnn fp32, users 4",
        ),
    ]


def test_gates_of_older_reports_have_their_words():
    """A gate of an older report, without limit and measured value, shows its sentence."""
    report = load_reports.changed(
        load_reports.report(),
        {"gates": [{"name": "errors", "passed": True, "detail": "0 of 9 failed, at most 0 %"}]},
    )

    (row,) = findings.gates(measured(report))

    assert (row.limit, row.measured) == ("", "0 of 9 failed, at most 0 %")


@pytest.mark.parametrize(
    ("texts", "together"),
    [
        pytest.param(["1,000 of 2"], "1,000 of 2", id="one"),
        pytest.param(["10 ms, 3", "9.5 ms, 3"], "9.5 to 10 ms, 3", id="range"),
        pytest.param(["no host 10.0.0.1", "no host 10.0.0.1"], "no host 10.0.0.1", id="address"),
        pytest.param(["ran to its end"] * 2, "ran to its end", id="no-number"),
    ],
)
def test_texts_that_differ_in_numbers_become_one(texts, together):
    """In texts that differ only in numbers each number becomes its range."""
    assert findings.ranges(texts) == together
