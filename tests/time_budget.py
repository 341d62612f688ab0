"""A time budget of a test run, for machines of unknown speed: `pytest --minutes=20`.

With it, the tests that took long when they were last recorded run after all others, those of quick
files first. The long tests that have not begun when the minutes are over are skipped and listed.
`pytest --record-long-tests` writes the record; a test without one counts as short.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

RECORD = Path(__file__).parent / "data" / "long_tests.json"
# A test that takes so long, with its fixtures, is a long one.
LONG_SECONDS = 2.0
# Short tests are worth running over the time, but there may be many, or long ones without a record.
GRACE_MINUTES = 4.0
# These tests import JAX into this process, which then warns at every start of a child process.
_LAST = "tests/training/"
_REASON = "the --minutes of this run were over; run the test by itself"


def add_options(parser: pytest.Parser) -> None:
    """Register the two options."""
    parser.addoption(
        "--minutes",
        type=float,
        metavar="N",
        help=f"skip the long tests that have not begun then, {GRACE_MINUTES:g} minutes later all",
    )
    parser.addoption(
        "--record-long-tests", action="store_true", help=f"write {RECORD.name} at the end"
    )


def register(config: pytest.Config) -> None:
    """Register the plugins of the options that are given."""
    minutes = config.getoption("--minutes")
    if minutes is not None:
        long = json.loads(RECORD.read_text())
        config.pluginmanager.register(TimeBudget(long, time.monotonic() + 60 * minutes))
    if config.getoption("--record-long-tests"):
        config.pluginmanager.register(Recorder(RECORD))


class TimeBudget:
    """Runs long tests last, and skips them after a time."""

    def __init__(self, long: Mapping[str, float], until: float) -> None:
        """Prepare.

        Args:
            long: Seconds by node id of a long test, or by file if its fixtures take long.
            until: `time.monotonic()` from which on no long test begins; `GRACE_MINUTES` later no
                test begins.
        """
        self._long = long
        self._until = until
        self._skipped: list[str] = []

    def _is_long(self, item: pytest.Item) -> bool:
        return item.nodeid in self._long or _file(item.nodeid) in self._long

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Move the long tests to the end, file by file; the tests of training stay the last."""
        seconds: Counter[str] = Counter()
        for name, took in self._long.items():
            seconds[_file(name)] += took

        def rank(item: pytest.Item) -> tuple[bool, float]:
            is_last = item.nodeid.startswith(_LAST)
            return is_last, seconds[_file(item.nodeid)] if self._is_long(item) else -1.0

        items.sort(key=rank)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip a test after its time, before its fixtures are set up."""
        now = time.monotonic()
        is_over = self._is_long(item) and now >= self._until
        if is_over or now >= self._until + 60 * GRACE_MINUTES:
            self._skipped.append(item.nodeid)
            pytest.skip(_REASON)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List the skipped tests, whose names pytest's own summary leaves out."""
        if self._skipped:
            terminalreporter.section(f"{len(self._skipped)} tests did not run: {_REASON}")
            for node_id in self._skipped:
                terminalreporter.write_line(f"NOT RUN: {node_id}")


class Recorder:
    """Records which tests of a run are long; tests that it did not run keep their record."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds: Counter[str] = Counter()
        self._fixtures: Counter[str] = Counter()  # the longest setup of each file

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add the duration of a test's setup, call or teardown."""
        self._seconds[report.nodeid] += report.duration
        if report.when == "setup":
            file = _file(report.nodeid)
            self._fixtures[file] = max(self._fixtures[file], report.duration)

    def pytest_sessionfinish(self) -> None:
        """Write the record: seconds by node id or file."""
        known = json.loads(self._file.read_text()) if self._file.exists() else {}
        found = self._seconds | self._fixtures
        kept = {name: seconds for name, seconds in known.items() if name not in found}
        long = {
            name: round(seconds, 1) for name, seconds in found.items() if seconds >= LONG_SECONDS
        }
        self._file.write_text(json.dumps(kept | long, indent=0, sort_keys=True) + "\n")


def _file(node_id: str) -> str:
    return node_id.partition("::")[0]
