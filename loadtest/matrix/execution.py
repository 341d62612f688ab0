"""The runs of a matrix, one after the other.

Each run is a separate `python -m loadtest run` (or `find-capacity`) process. No state of one run
can affect the next, and any run can be repeated by hand.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from loadtest.matrix.file import Matrix, MatrixScenario, Target
from loadtest.report_file import ReportError
from loadtest.report_schema import REPORT_FILE, SCHEMA_VERSION, Collection, Report, Result
from loadtest.reports import collection
from loadtest.reports.configurations import load_of
from loadtest.reports.measures import MEASURES
from loadtest.reports.unknown import with_reason
from loadtest.servers import bound_process
from loadtest.servers.description import Served
from loadtest.servers.local import LocalServer
from loadtest.session.stop_signals import leave_closed_terminal, stop_signals
from loadtest.settings.connection_flags import API_KEY_VARIABLE
from loadtest.settings.data_flags import names_rows
from loadtest.verdict.gates import missed

_ERROR = re.compile(r"^(?:error|.*: error): (.*)$", re.MULTILINE)
_SHOWN = ("p50_ms", "p99_ms", "images_per_second", "top1_percent")
# Time for a run to finish its requests and write its report after the time is up.
_GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class Endpoint:
    """A running server.

    Attributes:
        target: Entry of the server in the matrix.
        address: `host:port`.
        says: Models and versions on the server's metrics page.
        server: Process of the server; None if it was running before.
    """

    target: Target
    address: str
    says: Served
    server: LocalServer | None


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


class Execution:
    """Executes runs one after the other until all are done, the time is up, or a signal comes."""

    def __init__(
        self,
        plan: Matrix,
        folder: Path,
        *,
        models_dir: Path | None,
        data_dir: Path | None,
        connection_flags: Sequence[str] = (),
    ) -> None:
        """Start without results; the time limit counts from here.

        Args:
            plan: The matrix.
            folder: Folder of the results; each run gets a subfolder.
            models_dir: Model folder, to compare answers with the recorded predictions; None for no
                comparison.
            data_dir: Folder or archive of the test images; None to use $CIFAR10_DIR.
            connection_flags: Flags for the connection to servers that were running before.
        """
        self.results: list[Result] = []
        self.not_measured: list[str] = []
        self.stop_reason: str | None = None
        self._plan = plan
        self._folder = folder
        self._models_dir = models_dir
        self._data_dir = data_dir
        self._connection_flags = connection_flags
        self._child: subprocess.Popen[bytes] | None = None
        self._failures: list[str] = []
        self._started = time.monotonic()
        self._took: dict[tuple[Path | str, ...], float] = {}

    @property
    def failures(self) -> list[str]:
        """What was not measured, and the gates that were missed; empty if all is well."""
        stopped = [] if self.stop_reason is None else [self.stop_reason]
        return [*self._failures, *self.not_measured] or stopped

    def collection(self) -> Collection:
        """Return the results so far as a collection."""
        return Collection(
            schema_version=SCHEMA_VERSION,
            name=self._plan.name,
            stop_reason=self.stop_reason,
            results=self.results,
            not_measured=self.not_measured,
        )

    def run_all(self, runs: Sequence[MatrixRun]) -> None:
        """Execute the runs; `stop_signals` end the current run and start no other."""
        left_out: dict[str, list[int]] = {}
        with self._interruptible():
            for number, run in enumerate(runs, 1):
                if self.stop_reason is None and not self._too_long(run):
                    self._make(run, number, len(runs))
                else:
                    planned = run.scenario.repeats or self._plan.repeats
                    counts = left_out.setdefault(str(run), [0, min(planned, self._plan.repeats)])
                    counts[0] += 1
        why = self.stop_reason or self._time_is_up
        self.not_measured += [
            f"{what}: {count} of {planned} repeats left out, {why}"
            for what, (count, planned) in left_out.items()
        ]

    def _make(self, run: MatrixRun, number: int, count: int) -> None:
        started = time.monotonic()
        folder = self._folder / "runs" / f"{number:03d}-{slug(str(run))}"
        server = run.endpoint.server
        before = server.usage() if server else None
        minutes, seconds = divmod(int(started - self._started), 60)
        say(f"[{number}/{count}, {minutes}:{seconds:02d}] {run}")
        environment = dict(os.environ)
        if server is not None:
            environment.pop(API_KEY_VARIABLE, None)  # the key is not for servers of this program
        output = self._execute(self._command(run, folder), folder, environment)
        try:
            report = collection.read(folder).results[0].report
        except ReportError:
            problem = (server and server.end()) or problem_in(output)
            self.not_measured.append(f"{run}, repeat {run.repeat + 1}: {problem}")
            say(f"  not measured: {problem}")
            return
        self._took[_kind(run)] = time.monotonic() - started
        if (failed := missed(report.gates)) is not None:
            self._failures.append(f"{run}, repeat {run.repeat + 1}: {failed}")
        process = None
        if server is not None and before is not None:
            process = server.section(
                before, requests=requests_of(report), provider=report.model.provider
            )
        result = Result(
            target=run.endpoint.target.name,
            folder=str(folder.relative_to(self._folder)),
            report=report,
            server_versions=run.endpoint.says.versions,
            server_process=process,
        )
        self.results.append(result)
        say(f"  {result_line(result)}")

    def _command(self, run: MatrixRun, folder: Path) -> list[str]:
        flags = [
            f"--target={run.endpoint.address}",
            f"--model={run.model}",
            *run.scenario.flags,
            f"--output-dir={folder}",
            f"--name={self._plan.name}",
            # The order and the arrivals differ between repeats, but not between the runs of one.
            *(f"--seed={run.repeat}", f"--schedule-seed={run.repeat}"),
        ]
        # The records are of the test images alone.
        test_images = not names_rows(run.scenario.flags)
        if self._models_dir is not None and test_images:
            flags.append(f"--models-dir={self._models_dir}")
        if run.endpoint.server is None:
            flags += self._connection_flags
        if self._data_dir is not None and test_images:
            flags.append(f"--data-dir={self._data_dir}")
        # The metrics page tells about the latest version, and a label may name another one.
        if not any(flag.startswith("--version-label") for flag in run.scenario.flags):
            flags += model_flags(run.endpoint, run.model)
        return [run.scenario.command, *flags]

    def _execute(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
        """Run a command of this package and return its output, which is also saved in `folder`.

        The command also ends if this process is killed; see `bound_process`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REPORT_FILE).unlink(missing_ok=True)  # of an earlier matrix
        log = folder / "output.txt"
        with log.open("wb") as output:
            shown = shlex.join(without_values(command))
            output.write(f"$ python -m loadtest {shown}\n".encode())
            output.flush()
            self._child = subprocess.Popen(
                bound_process.command([sys.executable, "-m", "loadtest", *command]),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only this process, which passes it on
            )
            try:
                self._wait(self._child)
            finally:
                if self._child.poll() is None:
                    self._child.kill()
                self._child.wait()
                self._child = None
        return log.read_text(encoding="utf-8", errors="replace").partition("\n")[2]

    def _wait(self, child: "subprocess.Popen[bytes]") -> None:
        left = self._seconds_left()
        try:
            child.wait(None if left is None else max(left, 1.0))
        except subprocess.TimeoutExpired:
            self.stop_reason = self._time_is_up
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_GRACE_SECONDS)

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
        return left is not None and left < self._took.get(_kind(run), 0.0)

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        def stop(number: int, _frame: FrameType | None) -> None:
            leave_closed_terminal()
            self.stop_reason = f"interrupted by {signal.Signals(number).name}"
            if self._child is not None:
                self._child.send_signal(signal.SIGINT)

        previous = {number: signal.signal(number, stop) for number in stop_signals()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def model_flags(endpoint: Endpoint, name: str) -> list[str]:
    """Return the flags for version, precision and provider of a model, if the server says them."""
    model = endpoint.says.models.get(name)
    if model is None:
        return []
    return [
        f"--version={model.version}",
        f"--precision={model.precision}",
        f"--provider={model.provider}",
    ]


def without_values(command: Sequence[str]) -> list[str]:
    """Return a command line without the values of headers, which may be secret."""
    return [re.sub(r"^(--header=[^:]*:).+", r"\1...", argument) for argument in command]


def problem_in(output: str) -> str:
    """Return the error in a run's output, or its last line."""
    found = _ERROR.findall(output)[-1:] or output.strip().splitlines()[-1:]
    return found[0] if found else "it ended without a word"


def _kind(run: MatrixRun) -> tuple[Path | str, ...]:
    return run.endpoint.address, run.model, str(run.scenario)


def requests_of(report: Report) -> int:
    """Return the number of requests the server handled; find-capacity's count all steps."""
    counts, capacity = report.requests, report.capacity
    if capacity is not None:
        return sum(step.answered + step.failed for step in capacity.steps)
    return counts.answered + counts.failed + counts.warmup


def result_line(result: Result) -> str:
    """Return a result in one line."""
    report = result.report
    texts = ["VALID" if report.validity.valid else "INVALID", str(load_of(report))]
    names = ("capacity_per_second", *_SHOWN) if report.capacity else _SHOWN
    texts += [
        f"{MEASURES[name].title} {with_reason(MEASURES[name].cell(result))}" for name in names
    ]
    return ", ".join(texts + report.validity.reasons)


def slug(text: str) -> str:
    """Return a text as a name for a file or folder: letters, digits, `.`, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-")[:80]


def say(text: str) -> None:
    """Print a line of progress to standard error; standard output is for the report."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
