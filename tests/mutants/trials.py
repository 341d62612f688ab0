"""Runs of the tests against mutants, one at a time in each copy of the tree."""

import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mutants import choosing, judged, report, workplace
from mutants.covered import MeasuredTest
from mutants.mutations import Mutant
from mutants.report import Result

# One in so many mutants is tried without its change, too: then its tests must pass.
CONTROLS_EVERY = 20
_LOOK_AGAIN_SECONDS = 0.02


@dataclass(frozen=True)
class _Trial:
    mutant: Mutant
    tests: Sequence[MeasuredTest]
    control: bool


class _Chosen:
    """A plugin of pytest that leaves the chosen tests alone, whatever is in their names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = set(names)

    def pytest_collection_modifyitems(self, items: list) -> None:
        items[:] = [item for item in items if item.nodeid in self._names]


class Trials:
    """Tries mutants and gathers how they fare."""

    def __init__(
        self,
        tests: Sequence[MeasuredTest],
        judged_equivalent: Mapping[str, Mapping[str, str]],
        logs: Path,
    ) -> None:
        """Nothing runs yet.

        Args:
            tests: Those that may judge mutants.
            judged_equivalent: The list; what is on it is not tried.
            logs: A folder for the output of pytest.
        """
        self._tests = tests
        self._equivalent = judged_equivalent
        self._logs = logs
        self._queue: deque[_Trial] = deque()
        self._results: list[Result] = []
        self._wrong: list[str] = []

    def run(
        self, mutants: Sequence[Mutant], trees: Sequence[Path]
    ) -> tuple[list[Result], list[str]]:
        """Try mutants until none is left.

        Returns:
            The results, and a line for each control that failed.
        """
        for number, mutant in enumerate(mutants):
            self._enqueue(mutant, control=number % CONTROLS_EVERY == 0)
        running = [self._in_tree(tree) for tree in trees]
        while running:
            running = [each for each in running if next(each, "end") != "end"]
            time.sleep(_LOOK_AGAIN_SECONDS)
        return self._results, self._wrong

    def _enqueue(self, mutant: Mutant, *, control: bool) -> None:
        if judged.applies(mutant, self._equivalent):
            self._results.append(report.result(mutant, "equivalent"))
            return
        chosen = choosing.choose(mutant, self._tests)
        if not chosen:
            self._results.append(report.result(mutant, "untested"))
            return
        self._queue.append(_Trial(mutant, chosen, control=False))
        if control:
            self._queue.append(_Trial(mutant, chosen, control=True))

    def _in_tree(self, tree: Path) -> Iterator[None]:
        """Try what is queued; a step is one look at the run in this tree."""
        log = self._logs / f"{tree.name}.log"
        while self._queue:
            trial = self._queue.popleft()
            file = tree / trial.mutant.file
            if not trial.control:
                file.write_text(trial.mutant.code)
            run = workplace.start(
                tree,
                list(dict.fromkeys(test.module for test in trial.tests)),
                log,
                choosing.limit_seconds(trial.tests),
                [_Chosen([test.name for test in trial.tests])],
            )
            while (ended := run.ended()) is None:
                yield
            file.write_text(trial.mutant.tree.code)
            self._note(trial, *ended, log)

    def _note(self, trial: _Trial, exit_code: int | None, seconds: float, log: Path) -> None:
        outcome = report.outcome_of(exit_code)
        mutant = trial.mutant
        name = f"without {mutant.name}" if trial.control else mutant.name
        print(f"{outcome:8} {seconds:6.1f} s {len(trial.tests):4} tests {name}", flush=True)
        if not trial.control:
            self._results.append(report.result(mutant, outcome, seconds, len(trial.tests)))
            if outcome == "survived":
                print(f"{mutant.file}:{mutant.line}\n{mutant.change}", flush=True)
        elif outcome != "survived":
            shutil.copy(log, self._logs / "control.log")
            self._wrong.append(f"tests of {mutant.name}, {outcome}: {self._logs}/control.log")
