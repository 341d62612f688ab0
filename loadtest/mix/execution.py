"""The streams of a mix, each a process of its own, from their common start to their reports."""

import contextlib
import math
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from loadtest.generator import start_gate
from loadtest.matrix.execution import (
    Endpoint,
    model_flags,
    problem_in,
    result_line,
    say,
    slug,
    without_values,
)
from loadtest.mix.file import Mix, Stream
from loadtest.report_file import ReportError
from loadtest.report_schema import REPORT_FILE, SCHEMA_VERSION, Collection, Result, ServerProcess
from loadtest.report_traffic_schema import MixTotals
from loadtest.reports import collection
from loadtest.reports.traffic import mix_line
from loadtest.servers import bound_process
from loadtest.servers.local import Usage
from loadtest.session.stop_signals import leave_closed_terminal, stop_signals
from loadtest.settings.connection_flags import API_KEY_VARIABLE
from loadtest.settings.data_flags import names_rows
from loadtest.verdict.gates import missed

_POLL_SECONDS = 0.02
# Time for a stream to finish its requests and write its report after it was stopped.
_GRACE_SECONDS = 30.0
# The time for all streams to read the time of their start.
_START_DELAY_NS = 200_000_000


@dataclass
class _Running:
    """A stream under way."""

    stream: Stream
    gate: str
    folder: Path
    process: "subprocess.Popen[bytes]"


class MixExecution:
    """Runs all streams together, as often as the mix says."""

    def __init__(
        self,
        mix: Mix,
        endpoint: Endpoint,
        folder: Path,
        *,
        models_dir: Path | None,
        data_dir: Path | None,
        connection_flags: Sequence[str] = (),
    ) -> None:
        """Start without results.

        Args:
            mix: The streams.
            endpoint: The server.
            folder: Folder of the results; each stream gets a subfolder for each repeat.
            models_dir: Model folder, to compare answers with the recorded predictions; None for no
                comparison.
            data_dir: Folder or archive of the test images; None to use $CIFAR10_DIR.
            connection_flags: Flags for the connection to a server that was running before.
        """
        self.results: list[Result] = []
        self.mixes: list[MixTotals] = []
        self.not_measured: list[str] = []
        self.stop_reason: str | None = None
        self._mix = mix
        self._endpoint = endpoint
        self._folder = folder
        self._models_dir = models_dir
        self._data_dir = data_dir
        self._connection_flags = connection_flags
        self._running: list[_Running] = []
        self._failures: list[str] = []

    @property
    def failures(self) -> list[str]:
        """What was not measured, and the gates that were missed; empty if all is well."""
        stopped = [] if self.stop_reason is None else [self.stop_reason]
        return [*self._failures, *self.not_measured] or stopped

    def collection(self) -> Collection:
        """Return the results so far as a collection."""
        return Collection(
            schema_version=SCHEMA_VERSION,
            name=self._mix.name,
            stop_reason=self.stop_reason,
            results=self.results,
            not_measured=self.not_measured,
            mixes=self.mixes,
        )

    def run_all(self) -> None:
        """Run every repeat; `stop_signals` end the streams and start no other repeat."""
        with self._interruptible():
            for repeat in range(self._mix.repeats):
                if self.stop_reason is None:
                    self._repeat(repeat)
                else:
                    self.not_measured.append(f"repeat {repeat + 1} left out, {self.stop_reason}")

    def _repeat(self, repeat: int) -> None:
        with tempfile.TemporaryDirectory() as gates:
            try:
                for number, stream in enumerate(self._mix.streams):
                    self._running.append(self._started(stream, number, repeat, Path(gates)))
                problem = self._wait_until_ready(Path(gates))
                before = self._usage()
                if problem is None and self.stop_reason is None:
                    say(f"[{repeat + 1}/{self._mix.repeats}] all streams start; Ctrl-C ends them")
                    start_gate.open_all(Path(gates), time.monotonic_ns() + _START_DELAY_NS)
                else:
                    self._interrupt()  # those that were started after the signal, too
                self._wait(ending=problem is not None)
            finally:
                for each in self._running:
                    if each.process.poll() is None:
                        each.process.kill()
                    each.process.wait()
                ended, self._running = self._running, []
        if problem is not None:
            self.not_measured.append(f"repeat {repeat + 1}: no stream was started: {problem}")
            say(f"  not started: {problem}")
        else:
            self._collect(ended, repeat, before)

    def _started(self, stream: Stream, number: int, repeat: int, gates: Path) -> _Running:
        """Start the process of a stream; its output is saved in its folder."""
        folder = self._folder / "runs" / f"{repeat + 1:02d}-{number + 1:02d}-{slug(stream.name)}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REPORT_FILE).unlink(missing_ok=True)  # of an earlier mix
        command = self._command(stream, number, repeat, folder)
        gate = f"{number}"
        environment = {**os.environ, start_gate.VARIABLE: str(gates / gate)}
        if self._endpoint.server is not None:
            environment.pop(API_KEY_VARIABLE, None)  # the key is not for servers of this program
        with (folder / "output.txt").open("wb") as output:
            shown = shlex.join(without_values(command))
            output.write(f"$ python -m loadtest {shown}\n".encode())
            output.flush()
            process = subprocess.Popen(
                bound_process.command([sys.executable, "-m", "loadtest", *command]),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only this process, which passes it on
            )
        say(f"stream {stream.name}: {stream.model} {' '.join(stream.command(self._mix))}")
        return _Running(stream, gate, folder, process)

    def _command(self, stream: Stream, number: int, repeat: int, folder: Path) -> list[str]:
        flags = [
            f"--target={self._endpoint.address}",
            f"--model={stream.model}",
            *stream.command(self._mix),
            f"--output-dir={folder}",
            f"--name={self._mix.name}",
            f"--stream={stream.name}",
            f"--mix={self._mix.words()}",
            f"--seed={repeat}",
            # Independent streams need seeds of their own: equal ones give the same gaps.
            f"--schedule-seed={repeat * len(self._mix.streams) + number}",
        ]
        # The records are of the test images alone.
        test_images = not names_rows(stream.flags)
        if self._models_dir is not None and test_images:
            flags.append(f"--models-dir={self._models_dir}")
        if self._endpoint.server is None:
            flags += self._connection_flags
        if self._data_dir is not None and test_images:
            flags.append(f"--data-dir={self._data_dir}")
        return ["run", *flags, *model_flags(self._endpoint, stream.model)]

    def _wait_until_ready(self, gates: Path) -> str | None:
        """Wait until all streams are warm.

        Returns:
            Why a stream did not start; None if all are ready or a signal came.
        """
        while self.stop_reason is None:
            ended = next((each for each in self._running if each.process.poll() is not None), None)
            if ended is not None:
                output = _output(ended.folder)
                server = self._endpoint.server
                return f"{ended.stream.name}: {(server and server.end()) or problem_in(output)}"
            if all(start_gate.is_ready(gates, each.gate) for each in self._running):
                return None
            time.sleep(_POLL_SECONDS)
        return None

    def _wait(self, *, ending: bool) -> None:
        """Wait for all streams; `ending` or after a signal not longer than the time of grace."""
        deadline = time.monotonic() + _GRACE_SECONDS if ending else math.inf
        while any(each.process.poll() is None for each in self._running):
            if self.stop_reason is not None:
                deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
            if time.monotonic() > deadline:
                return
            time.sleep(_POLL_SECONDS)

    def _collect(self, ended: Sequence[_Running], repeat: int, before: Usage | None) -> None:
        """Read the reports of a repeat and add up its totals."""
        found: list[tuple[Stream, Result]] = []
        server = self._endpoint.server
        lost = server.end() if server is not None else None
        for each in ended:
            try:
                report = collection.read(each.folder).results[0].report
            except ReportError:
                problem = lost or problem_in(_output(each.folder))
                self.not_measured.append(f"{each.stream.name}, repeat {repeat + 1}: {problem}")
                say(f"  {each.stream.name} not measured: {problem}")
                continue
            if (failed := missed(report.gates)) is not None:
                self._failures.append(f"{each.stream.name}, repeat {repeat + 1}: {failed}")
            result = Result(
                target=self._endpoint.target.name,
                folder=str(each.folder.relative_to(self._folder)),
                report=report,
                server_versions=self._endpoint.says.versions,
                server_process=None,
            )
            found.append((each.stream, result))
        if not found:
            return
        process = self._server_process(found, before)
        for stream, result in found:
            named = Result(
                target=result.target,
                folder=result.folder,
                report=result.report,
                server_versions=result.server_versions,
                server_process=process,
            )
            self.results.append(named)
            say(f"  {stream.name}: {result_line(named)}")
        totals = _totals(repeat + 1, found, process, len(self._mix.streams))
        self.mixes.append(totals)
        say(f"  {mix_line(totals)}")

    def _usage(self) -> Usage | None:
        server = self._endpoint.server
        return None if server is None else server.usage()

    def _server_process(
        self, found: Sequence[tuple[Stream, Result]], before: Usage | None
    ) -> ServerProcess | None:
        """Return the section on the server over all streams; None if it was running before."""
        server = self._endpoint.server
        if server is None or before is None:
            return None
        counts = [result.report.requests for _, result in found]
        return server.section(
            before,
            requests=sum(count.answered + count.failed for count in counts),
            provider=found[0][1].report.model.provider,
        )

    def _interrupt(self) -> None:
        for each in self._running:
            with contextlib.suppress(ProcessLookupError):
                each.process.send_signal(signal.SIGINT)

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        def stop(number: int, _frame: FrameType | None) -> None:
            leave_closed_terminal()
            self.stop_reason = f"interrupted by {signal.Signals(number).name}"
            self._interrupt()

        previous = {number: signal.signal(number, stop) for number in stop_signals()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _totals(
    repeat: int,
    found: Sequence[tuple[Stream, Result]],
    process: ServerProcess | None,
    streams: int,
) -> MixTotals:
    reports = [result.report for _, result in found]
    counts = [report.requests for report in reports]
    seconds = max(report.throughput.window_seconds for report in reports)
    answered = sum(count.answered for count in counts)
    images = sum(report.accuracy.n for report in reports)
    invalid = [stream.name for stream, result in found if not result.report.validity.valid]
    client_seconds = sum(report.client.cpu_seconds for report in reports)
    return MixTotals(
        repeat=repeat,
        streams=[stream.name for stream, _ in found],
        valid=not invalid and len(found) == streams,
        invalid_streams=invalid,
        seconds=seconds,
        scheduled=sum(count.scheduled for count in counts),
        answered=answered,
        failed=sum(count.failed for count in counts),
        missed=sum(count.missed for count in counts),
        wrong=sum(count.wrong for count in counts),
        requests_per_second=answered / seconds if seconds else None,
        images_per_second=images / seconds if seconds else None,
        client_cores=client_seconds / seconds if seconds else 0.0,
        server_cores=process.cpu_seconds / seconds if process is not None and seconds else None,
    )


def _output(folder: Path) -> str:
    """Return what a stream printed, without its command line."""
    text = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
    return text.partition("\n")[2]
