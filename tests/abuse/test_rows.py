"""Attacks a real server while polite callers call it: `make abuse` runs every row.

A usual test run does the most important rows once, in a few seconds each.
"""

import pytest
from abuse import report, row_run
from abuse.rows import QUICK, ROWS


@pytest.mark.parametrize("row", QUICK, ids=lambda row: row.id)
def test_polite_callers_are_served_during_a_short_attack(row, tmp_path):
    """Both callers are answered, memory stays bounded, and the server ends after SIGTERM."""
    result = row_run.run(row, tmp_path)

    assert result.faults == [], f"{result.faults}; {result.counts}"


@pytest.mark.abuse
@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.id)
def test_polite_callers_are_served(row, tmp_path, results):
    """Every row meets the criteria in all its rounds; the latencies go into the table."""
    result = row_run.run(row, tmp_path)
    results.append(result)

    assert row.only_reported or result.faults == [], f"{result.faults}; {result.counts}"


def test_the_page_names_every_row():
    """docs/abuse.md lists every row with its attack, and has the markers for the results."""
    page = report.PAGE.read_text()

    assert [row.id for row in ROWS.values() if f"| `{row.id}` | {row.what} |" not in page] == []
    for marker in (report.BEGIN, report.END, report.SHARES_BEGIN, report.SHARES_END):
        assert marker in page
