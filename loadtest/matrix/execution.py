"""The runs of a matrix, one after the other."""

import contextlib
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest import report_file
from loadtest.matrix.file import Matrix, MatrixScenario
from loadtest.plans import child_runs
from loadtest.plans.child_runs import GRACE_SECONDS, ChildRun, CommonSettings
from loadtest.plans.endpoints import Endpoint
from loadtest.plans.plan_outcome import Outcome
from loadtest.plans.progress import result_line, say
from loadtest.report_file import ReportError
from loadtest.report_schema import Report
from loadtest.session import stop_signals


@dataclass(frozen=True)
class MatrixRun:
    """One planned run."""

    endpoint: Endpoint
    model: str
    scenario: MatrixScenario
    repeat: int

    def __str__(self) -> str:
        """Return model, precision, target and scenario as one line of text."""
        served_model = self.endpoint.says.models.get(self.model)
        parts = [self.model, *([served_model.precision] if served_model else [])]
        return f"{' '.join(parts)} on {self.endpoint.target.name}: {self.scenario}"

    @property
    def kind(self) -> tuple[str, str, str]:
        """What is the same in all repeats of a run."""
        return self.endpoint.address, self.model, str(self.scenario)


class Execution:
    """Executes runs one after the other until all are done, the time is up, or a signal comes.

    Attributes:
        outcome: What was measured so far.
    """

    def __init__(self, plan: Matrix, settings: CommonSettings) -> None:
        """Start without results; the time limit counts from here.

        Args:
            plan: The matrix.
            settings: Settings of all runs.
        """
        self.outcome = Outcome()
        self._plan = plan
        self._settings = settings
        self._child: ChildRun | None = None
        self._started = time.monotonic()
        self._took: dict[tuple[str, str, str], float] = {}

    def run_all(self, runs: Sequence[MatrixRun]) -> None:
        """Execute the runs; `stop_signals` end the current run and start no other."""
        left_out: dict[str, list[int]] = {}
        with stop_signals.handled(self._stop):
            for number, run in enumerate(runs, 1):
                if self.outcome.stop_reason is None and not self._too_long(run):
                    self._make(run, number, len(runs))
                else:
                    planned = run.scenario.repeats or self._plan.repeats
                    counts = left_out.setdefault(str(run), [0, min(planned, self._plan.repeats)])
                    counts[0] += 1
        why = self.outcome.stop_reason or self._time_is_up
        self.outcome.not_measured += [
            f"{what}: {count} of {planned} repeats left out, {why}"
            for what, (count, planned) in left_out.items()
        ]

    def _make(self, run: MatrixRun, number: int, count: int) -> None:
        """Execute a run and add its result."""
        started = time.monotonic()
        endpoint, settings = run.endpoint, self._settings
        folder = settings.run_folder(f"{number:03d}", str(run))
        before = endpoint.usage()
        minutes, seconds = divmod(int(started - self._started), 60)
        say(f"[{number}/{count}, {minutes}:{seconds:02d}] {run}")
        self._execute(self._command(run, folder), folder, endpoint)
        label = f"{run}, repeat {run.repeat + 1}"
        try:
            report = report_file.read_run(folder)
        except ReportError:
            problem = child_runs.problem(folder, endpoint)
            self.outcome.not_measured.append(f"{label}: {problem}")
            say(f"  not measured: {problem}")
            return
        self._took[run.kind] = time.monotonic() - started
        self.outcome.judge(label, report)
        process = endpoint.process_section(
            before, requests=requests_of(report), provider=report.model.provider
        )
        result = endpoint.result(report, folder.relative_to(settings.folder), process)
        self.outcome.results.append(result)
        say(f"  {result_line(result)}")

    def _command(self, run: MatrixRun, folder: Path) -> list[str]:
        own = [
            f"--name={self._plan.name}",
            # The order and the arrivals differ between repeats, but not between the runs of one.
            *(f"--seed={run.repeat}", f"--schedule-seed={run.repeat}"),
        ]
        load = run.scenario.flags
        flags = self._settings.flags(run.endpoint, run.model, load, own, folder)
        return [run.scenario.command, *flags]

    def _execute(self, command: Sequence[str], folder: Path, endpoint: Endpoint) -> None:
        """Run a command of this package until its end."""
        self._child = child_runs.start(command, folder, endpoint)
        try:
            if self.outcome.stop_reason is not None:
                self._child.interrupt()  # the signal came while the run was started
            self._wait(self._child)
        finally:
            self._child.close()
            self._child = None

    def _wait(self, child: ChildRun) -> None:
        """Wait for the end of a run; end it when the time is up."""
        left = self._seconds_left()
        try:
            child.process.wait(None if left is None else max(left, 1.0))
        except subprocess.TimeoutExpired:
            self.outcome.stop_reason = self._time_is_up
            child.interrupt()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(GRACE_SECONDS)

    def _stop(self, reason: str) -> None:
        self.outcome.stop_reason = reason
        if self._child is not None:
            self._child.interrupt()

    @property
    def _time_is_up(self) -> str:
        return f"{self._plan.max_seconds or 0:g} seconds are over"

    def _seconds_left(self) -> float | None:
        if self._plan.max_seconds is None:
            return None
        return self._plan.max_seconds - (time.monotonic() - self._started)

    def _too_long(self, run: MatrixRun) -> bool:
        """Return whether a run would miss the time limit, judged by the last run of its kind."""
        left = self._seconds_left()
        return left is not None and left < self._took.get(run.kind, 0.0)


def requests_of(report: Report) -> int:
    """Return the number of requests the server handled; find-capacity's count all steps."""
    counts, capacity = report.requests, report.capacity
    if capacity is not None:
        return sum(step.answered + step.failed for step in capacity.steps)
    return counts.answered + counts.failed + counts.warmup
