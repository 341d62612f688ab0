"""Runs of the tests against mutants, one at a time in each copy of the tree."""

import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from mutants import choosing, judged, report, workplace
from mutants.covered import MeasuredTest
from mutants.mutations import Mutant
from mutants.report import Result

# One in so many runs is repeated without the mutant's change; its tests must then pass.
CONTROLS_EVERY = 20
_LOOK_AGAIN_SECONDS = 0.02


@dataclass(frozen=True)
class _Trial:
    """A run of tests against a mutant.

    Attributes:
        mutant: The mutant.
        tests: The tests of this run.
        later: The tests of the next run, if none of `tests` detects the mutant.
        passed: Number of tests that passed in the mutant's earlier run.
        seconds: Duration of the mutant's earlier run.
        control: Whether this is a run without the mutant's change.
    """

    mutant: Mutant
    tests: Sequence[MeasuredTest]
    later: Sequence[MeasuredTest] = ()
    passed: int = 0
    seconds: float = 0
    control: bool = False


class _Chosen:
    """A plugin of pytest that runs only the chosen tests, each with its own time limit."""

    def __init__(self, tests: Sequence[MeasuredTest], failure: Path) -> None:
        self._failure = failure
        # The tests run in the order of this dictionary.
        self._limits = {test.name: choosing.limit_seconds_of_a_test(test) for test in tests}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # Names of parametrized tests may have any character, which the command line cannot take.
        found = {item.nodeid: item for item in items}
        items[:] = [found[name] for name in self._limits if name in found]
        for item in items:
            item.add_marker(pytest.mark.timeout(self._limits[item.nodeid]), append=False)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self._failure.exists():
            self._failure.write_text(f"{report.nodeid}: {report.longreprtext[-300:]}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self._failure.exists():
            crash = getattr(report.longrepr, "reprcrash", None)
            words = crash.message if crash else report.longreprtext
            self._failure.write_text(f"{report.nodeid}: {words[:300]}")


def _failure(log: Path) -> Path:
    return log.with_suffix(".failed")


class Trials:
    """Runs tests against mutants and collects the results."""

    def __init__(
        self,
        tests: Sequence[MeasuredTest],
        judged_equivalent: Mapping[str, Mapping[str, str]],
        known: Iterable[Result],
        folder: Path,
    ) -> None:
        """Take the settings; `run` starts the runs.

        Args:
            tests: The tests that may judge mutants.
            judged_equivalent: Entries of the list by name; mutants in the list are not tried.
            known: Earlier results; a mutant that was detected with the same change is not tried.
            folder: Folder for the output of pytest, and for `tried.json`, the results so far.
        """
        self._tests = tests
        self._equivalent = judged_equivalent
        self._detected = {each.name: each for each in known if each.outcome in report.DETECTED}
        self._folder = folder
        self._queue: deque[_Trial] = deque()
        self._runs = 0
        self._results: list[Result] = []
        self._wrong: list[str] = []

    def run(
        self, mutants: Sequence[Mutant], trees: Sequence[Path]
    ) -> tuple[list[Result], list[str]]:
        """Try all mutants, one at a time in each tree.

        Returns:
            The results, and a line for each control run whose tests failed.
        """
        for mutant in mutants:
            self._enqueue(mutant)
        running = [self._in_tree(tree) for tree in trees]
        try:
            while running:
                running = [each for each in running if next(each, "end") != "end"]
                time.sleep(_LOOK_AGAIN_SECONDS)
        finally:
            for each in running:
                each.close()
        return self._results, self._wrong

    def _enqueue(self, mutant: Mutant) -> None:
        if judged.applies(mutant, self._equivalent):
            self._results.append(report.result(mutant, "equivalent"))
            return
        known = self._detected.get(mutant.name)
        if known is not None and known.change == mutant.change:
            self._results.append(known)
            return
        chosen = choosing.choose(mutant, self._tests)
        if not chosen:
            self._results.append(report.result(mutant, "untested"))
            return
        first, later = choosing.split(chosen)
        self._queue.append(_Trial(mutant, first, later))

    def _in_tree(self, tree: Path) -> Iterator[None]:
        """Run the queued trials in a tree; yield while a run goes on."""
        log = self._folder / f"{tree.name}.log"
        while self._queue:
            trial = self._queue.popleft()
            file = tree / trial.mutant.file
            if not trial.control:
                file.write_text(trial.mutant.code)
            _failure(log).unlink(missing_ok=True)
            run = workplace.start(
                tree,
                list(dict.fromkeys(test.module for test in trial.tests)),
                log,
                choosing.limit_seconds(trial.tests),
                [_Chosen(trial.tests, _failure(log))],
            )
            try:
                while (ended := run.ended()) is None:
                    yield
            finally:
                run.end()
            file.write_text(trial.mutant.tree.code)
            self._note(trial, *ended, log)

    def _note(self, trial: _Trial, exit_code: int | None, seconds: float, log: Path) -> None:
        failed = _failure(log).read_text() if _failure(log).is_file() else ""
        outcome = report.outcome_of(exit_code, failed)
        mutant = trial.mutant
        if trial.control:
            print(f"{outcome:8} {seconds:6.1f} s {len(trial.tests):4} tests without {mutant.name}")
            if outcome != "survived":
                shutil.copy(log, self._folder / "control.log")
                line = f"tests of {mutant.name}, {outcome}: {self._folder}/control.log"
                self._wrong.append(line)
            return
        if self._runs % CONTROLS_EVERY == 0:
            self._queue.append(_Trial(mutant, trial.tests, control=True))
        self._runs += 1
        seconds, tests = trial.seconds + seconds, trial.passed + len(trial.tests)
        if outcome == "survived" and trial.later:
            self._queue.appendleft(_Trial(mutant, trial.later, passed=tests, seconds=seconds))
            return
        print(f"{outcome:8} {seconds:6.1f} s {tests:4} tests {mutant.name}", flush=True)
        self._results.append(report.result(mutant, outcome, seconds, tests, failed))
        report.write(self._results, self._folder / "tried.json")
        if outcome == "survived":
            print(f"{mutant.file}:{mutant.line}\n{mutant.change}", flush=True)
