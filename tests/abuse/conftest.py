"""Collects the results of a session's rows; prints them and writes them as JSON at its end."""

import os

import pytest
from abuse import report
from abuse.row_run import Result
from abuse.rows import ROWS

RESULTS = pytest.StashKey[list[Result]]()


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> list[Result]:
    """The list to which each row appends its result."""
    return request.config.stash.setdefault(RESULTS, [])


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    results, shares = config.stash.get(RESULTS, []), config.stash.get(report.SHARES, None)
    if not results and shares is None:
        return
    terminalreporter.section("abuse")
    if results:
        terminalreporter.write_line(report.text(results))
    if shares is not None:
        terminalreporter.write_line(shares.sentence())
    terminalreporter.write_line(f"written to {report.write_json(results, shares)}")
    if os.environ.get("ABUSE_DOCS") and shares is not None:
        report.write_shares(shares)
    every_row = {result.id for result in results} == set(ROWS)
    if os.environ.get("ABUSE_DOCS") and every_row:
        report.write_page(results)
        terminalreporter.write_line(f"written to {report.PAGE}")
