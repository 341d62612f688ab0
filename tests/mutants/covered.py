"""Measures which lines each test runs, and how long the test takes.

The measurement of a test module is kept until a file that it runs changes. Tests that fail or are
skipped without a mutant cannot judge mutants and are left out.
"""

import hashlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from coverage import Coverage
from mutants import workplace
from mutants.sampling import PACKAGES

# Folders of the tests that may judge mutants: they run in one process and wait for no minutes.
TEST_FOLDERS = (
    "tests/serving",
    "tests/loadtest/capacity",
    "tests/loadtest/figures",
    "tests/loadtest/reports",
    "tests/loadtest/session",
    "tests/loadtest/verdict",
    "tests/export/gates",
)
MARKERS = "not (abuse or conformance or docker or gpu or network or slow)"
MOST_SECONDS_OF_A_TEST = 20
COLLECTION_LIMIT_SECONDS = 1500
# Prefix of the coverage context in which a test's fixtures are made.
_FIXTURES = "fixtures of "
# If this file changes, all tests are measured again.
_OWN_FILE = Path(__file__).relative_to(Path(__file__).parents[2]).as_posix()


@dataclass(frozen=True)
class MeasuredTest:
    """A test that passes without mutants.

    Attributes:
        name: Pytest's node id.
        seconds: Duration of the test, with the fixtures that no earlier test had made.
        fixture_seconds: The longest setup of any test of the same package. In another order the
            test may have to make the same fixtures.
        lines: Numbers of the lines that the test runs, by file.
    """

    name: str
    seconds: float
    fixture_seconds: float
    lines: dict[str, set[int]]

    @property
    def module(self) -> str:
        """The file that defines the test."""
        return self.name.partition("::")[0]


class _Watch:
    """A plugin of pytest that records the lines and the duration of each test."""

    def __init__(self, tree: Path, output: Path) -> None:
        self._tree = tree
        self._output = output
        self._coverage = Coverage(
            data_file=None,
            config_file=False,
            include=[f"{tree}/{folder}/*" for folders in PACKAGES.values() for folder in folders],
        )
        self._seconds: dict[str, float] = defaultdict(float)
        self._fixture_seconds: dict[str, float] = defaultdict(float)
        self._bad: set[str] = set()

    def pytest_sessionstart(self) -> None:
        self._coverage.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if sys.gettrace() is None:  # a test replaced the tracer, as tests of the simulation do
            self._coverage.stop()
            self._coverage.start()
        self._coverage.switch_context(f"{_FIXTURES}{nodeid}")
        self._seconds[nodeid] = -time.monotonic()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        self._coverage.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report) -> None:
        if report.outcome != "passed":
            self._bad.add(report.nodeid)
        if report.when == "setup":
            self._fixture_seconds[report.nodeid] = report.duration

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._seconds[nodeid] += time.monotonic()

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        tests = {
            name: {
                "seconds": round(seconds, 4),
                "fixture_seconds": round(self._fixture_seconds[name], 4),
                "lines": defaultdict(list),
                "fixture_lines": defaultdict(list),
            }
            for name, seconds in self._seconds.items()
            if name not in self._bad
        }
        for file in data.measured_files():
            name = Path(file).relative_to(self._tree).as_posix()
            for line, contexts in data.contexts_by_lineno(file).items():
                for context in contexts:
                    kind = "fixture_lines" if context.startswith(_FIXTURES) else "lines"
                    if (test := context.removeprefix(_FIXTURES)) in tests:
                        tests[test][kind][name].append(line)
        self._output.write_text(json.dumps(tests))


def collect(root: Path, tree: Path, kept: Path) -> list[MeasuredTest]:
    """Return the tests that may judge mutants, with their lines and durations.

    A test module is measured only if it or a file that it runs has changed since the last time.

    Args:
        root: The repository.
        tree: A copy of the repository, in which the tests run.
        kept: The folder that holds the last measurement, and gets the new one.
    """
    file = kept / "covered.json"
    known = json.loads(file.read_text()) if file.is_file() else {}
    modules = {
        path.relative_to(root).as_posix(): ""
        for folder in TEST_FOLDERS
        for path in sorted((root / folder).rglob("test_*.py"))
    }
    digests = {name: _digest(root / name) for name in modules}
    fresh = {
        name: known[name]
        for name in modules
        if name in known
        and known[name]["digest"] == digests[name]
        and _unchanged(root, known[name])
    }
    for stale in _groups([name for name in modules if name not in fresh]):
        print(f"measuring which lines {len(stale)} test modules run", flush=True)
        fresh |= _measure(root, tree, stale, digests, kept)
        file.write_text(json.dumps(fresh))
    return [test for test in _tests(fresh) if test.seconds <= MOST_SECONDS_OF_A_TEST]


def _tests(modules: dict[str, dict]) -> Iterator[MeasuredTest]:
    """Yield the tests with the lines that they run if they make all of their fixtures themselves.

    Each test is taken to use all fixtures of its module.
    """
    slowest: dict[str, float] = defaultdict(float)
    for name, module in modules.items():
        for test in module["tests"].values():
            wing = name.split("/")[1]
            slowest[wing] = max(slowest[wing], test["fixture_seconds"])
    for name, module in modules.items():
        shared: dict[str, set[int]] = defaultdict(set)
        for test in module["tests"].values():
            for file, numbers in test["fixture_lines"].items():
                shared[file].update(numbers)
        for test, each in module["tests"].items():
            lines = {
                file: shared[file].union(each["lines"].get(file, ()))
                for file in {*shared, *each["lines"]}
            }
            yield MeasuredTest(test, each["seconds"], slowest[name.split("/")[1]], lines)


def _measure(
    root: Path, tree: Path, modules: Sequence[str], digests: dict[str, str], kept: Path
) -> dict[str, dict]:
    output = kept / "measured.json"
    output.unlink(missing_ok=True)
    run = workplace.start(
        tree,
        ["-m", MARKERS, "--maxfail=1000", *modules],
        kept / "measuring.log",
        COLLECTION_LIMIT_SECONDS,
        [_Watch(tree, output)],
    )
    try:
        while run.ended() is None:
            time.sleep(0.1)
    finally:
        run.end()
    if not output.is_file():
        msg = f"pytest did not end by itself, expected a measurement; see {kept}/measuring.log"
        raise RuntimeError(msg)
    tests = json.loads(output.read_text())
    found: dict[str, dict] = {name: {"digest": digests[name], "tests": {}} for name in modules}
    for name, test in tests.items():
        found[name.partition("::")[0]]["tests"][name] = test
    for module in found.values():
        files = {
            file
            for test in module["tests"].values()
            for file in (*test["lines"], *test["fixture_lines"], _OWN_FILE)
        }
        module["files"] = {file: _digest(root / file) for file in sorted(files)}
    return found


def _groups(modules: Sequence[str]) -> Iterator[list[str]]:
    """Yield the test modules of one package after another; each group is run in one process."""
    groups = defaultdict(list)
    for name in modules:
        groups[name.split("/")[1]].append(name)
    yield from groups.values()


def _unchanged(root: Path, module: dict) -> bool:
    return all(
        (root / file).is_file() and _digest(root / file) == digest
        for file, digest in module["files"].items()
    )


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
