"""The streams of a mix, each a process of its own, from their common start to their reports."""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from loadtest import report_file
from loadtest.generator import start_gate
from loadtest.mix.file import Mix, Stream
from loadtest.plans import child_runs
from loadtest.plans.child_runs import GRACE_SECONDS, ChildRun, CommonSettings
from loadtest.plans.endpoints import Endpoint
from loadtest.plans.plan_outcome import Outcome
from loadtest.plans.progress import result_line, say
from loadtest.report_file import ReportError
from loadtest.report_schema import Result, ServerProcess
from loadtest.report_traffic_schema import MixTotals
from loadtest.reports.traffic import mix_line
from loadtest.servers.local import Usage
from loadtest.session import stop_signals

_POLL_SECONDS = 0.02
# The time for all streams to read the time of their start.
_START_DELAY_NS = 200_000_000


@dataclass(frozen=True)
class _StreamRun:
    """A stream under way, or ended.

    Attributes:
        stream: The stream.
        gate: Name of its start gate.
        child: Its process.
    """

    stream: Stream
    gate: str
    child: ChildRun


class MixExecution:
    """Runs all streams together, as often as the mix says.

    Attributes:
        outcome: What was measured so far.
    """

    def __init__(self, mix: Mix, endpoint: Endpoint, settings: CommonSettings) -> None:
        """Start without results.

        Args:
            mix: The streams.
            endpoint: The server.
            settings: Settings of all runs; each stream is one run in each repeat.
        """
        self.outcome = Outcome()
        self._mix = mix
        self._endpoint = endpoint
        self._settings = settings
        self._running: list[_StreamRun] = []

    def run_all(self) -> None:
        """Run every repeat; `stop_signals` end the streams and start no other repeat."""
        with stop_signals.handled(self._stop):
            for repeat in range(self._mix.repeats):
                reason = self.outcome.stop_reason
                if reason is None:
                    self._repeat(repeat)
                else:
                    self.outcome.not_measured.append(f"repeat {repeat + 1} left out, {reason}")

    def _repeat(self, repeat: int) -> None:
        with tempfile.TemporaryDirectory() as gates:
            try:
                for number, stream in enumerate(self._mix.streams):
                    self._running.append(self._start(stream, number, repeat, Path(gates)))
                problem = self._wait_until_ready(Path(gates))
                before = self._endpoint.usage()
                if problem is None and self.outcome.stop_reason is None:
                    say(f"[{repeat + 1}/{self._mix.repeats}] all streams start; Ctrl-C ends them")
                    start_gate.open_all(Path(gates), time.monotonic_ns() + _START_DELAY_NS)
                else:
                    self._interrupt()  # those that were started after the signal, too
                self._wait(ending=problem is not None)
            finally:
                for each in self._running:
                    each.child.close()
                ended, self._running = self._running, []
        if problem is not None:
            self.outcome.not_measured.append(
                f"repeat {repeat + 1}: no stream was started: {problem}"
            )
            say(f"  not started: {problem}")
        else:
            self._collect(ended, repeat, before)

    def _start(self, stream: Stream, number: int, repeat: int, gates: Path) -> _StreamRun:
        """Start the process of a stream, which waits at its gate once it is warm."""
        folder = self._settings.run_folder(f"{repeat + 1:02d}-{number + 1:02d}", stream.name)
        command = self._command(stream, number, repeat, folder)
        gate = f"{number}"
        child = child_runs.start(command, folder, self._endpoint, gate=gates / gate)
        say(f"stream {stream.name}: {stream.model} {' '.join(stream.command(self._mix))}")
        return _StreamRun(stream, gate, child)

    def _command(self, stream: Stream, number: int, repeat: int, folder: Path) -> list[str]:
        own = [
            f"--name={self._mix.name}",
            f"--stream={stream.name}",
            f"--mix={self._mix.words()}",
            f"--seed={repeat}",
            # Independent streams need seeds of their own: equal ones give the same gaps.
            f"--schedule-seed={repeat * len(self._mix.streams) + number}",
        ]
        load = stream.command(self._mix)
        return ["run", *self._settings.flags(self._endpoint, stream.model, load, own, folder)]

    def _wait_until_ready(self, gates: Path) -> str | None:
        """Wait until all streams are warm.

        Returns:
            Why a stream did not start; None if all are ready or a signal came.
        """
        while self.outcome.stop_reason is None:
            ended = next((each for each in self._running if each.child.has_ended), None)
            if ended is not None:
                problem = child_runs.problem(ended.child.folder, self._endpoint)
                return f"{ended.stream.name}: {problem}"
            if all(start_gate.is_ready(gates, each.gate) for each in self._running):
                return None
            time.sleep(_POLL_SECONDS)
        return None

    def _wait(self, *, ending: bool) -> None:
        """Wait for all streams; `ending` or after a signal not longer than the time of grace."""
        deadline = time.monotonic() + GRACE_SECONDS if ending else math.inf
        while not all(each.child.has_ended for each in self._running):
            if self.outcome.stop_reason is not None:
                deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
            if time.monotonic() > deadline:
                return
            time.sleep(_POLL_SECONDS)

    def _collect(self, ended: Sequence[_StreamRun], repeat: int, before: Usage | None) -> None:
        """Read the reports of a repeat and add up its totals."""
        found: list[tuple[Stream, Result]] = []
        for each in ended:
            label, folder = f"{each.stream.name}, repeat {repeat + 1}", each.child.folder
            try:
                report = report_file.read_run(folder)
            except ReportError:
                problem = child_runs.problem(folder, self._endpoint)
                self.outcome.not_measured.append(f"{label}: {problem}")
                say(f"  {each.stream.name} not measured: {problem}")
                continue
            self.outcome.judge(label, report)
            shown = folder.relative_to(self._settings.folder)
            found.append((each.stream, self._endpoint.result(report, shown, None)))
        if not found:
            return
        process = self._server_process([result for _, result in found], before)
        for stream, result in found:
            measured = structs.replace(result, server_process=process)
            self.outcome.results.append(measured)
            say(f"  {stream.name}: {result_line(measured)}")
        totals = _totals(repeat + 1, found, process, len(self._mix.streams))
        self.outcome.mixes.append(totals)
        say(f"  {mix_line(totals)}")

    def _server_process(
        self, results: Sequence[Result], before: Usage | None
    ) -> ServerProcess | None:
        """Return the section on the server over all streams; None if it was running before."""
        counts = [result.report.requests for result in results]
        return self._endpoint.process_section(
            before,
            requests=sum(count.answered + count.failed for count in counts),
            provider=results[0].report.model.provider,
        )

    def _stop(self, reason: str) -> None:
        self.outcome.stop_reason = reason
        self._interrupt()

    def _interrupt(self) -> None:
        for each in self._running:
            each.child.interrupt()


def _totals(
    repeat: int,
    found: Sequence[tuple[Stream, Result]],
    process: ServerProcess | None,
    streams: int,
) -> MixTotals:
    """Return the totals of a repeat.

    Args:
        repeat: Number of the repeat, from 1.
        found: The streams that have a report, with their results.
        process: The section on the server process; None if it was running before.
        streams: Number of streams of the mix.
    """
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
