"""The results of the session's rows: printed, and written as JSON, when it ends."""

import os

import pytest
from abuse import report
from abuse.row_run import Result
from abuse.rows import ROWS

RESULTS = pytest.StashKey[list[Result]]()


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> list[Result]:
    """Where a row leaves its result for the table."""
    return request.config.stash.setdefault(RESULTS, [])


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    results = config.stash.get(RESULTS, [])
    if not results:
        return
    terminalreporter.section("abuse")
    terminalreporter.write_line(report.text(results))
    terminalreporter.write_line(f"written to {report.write_json(results)}")
    every_row = {result.id for result in results} == set(ROWS)
    if os.environ.get("ABUSE_DOCS") and every_row:
        report.write_page(results)
        terminalreporter.write_line(f"written to {report.PAGE}")
