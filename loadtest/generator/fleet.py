"""The generators of a run: one in this process, or several, each in a child process."""

import asyncio
import contextlib
import multiprocessing
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Protocol

from loadtest.generator.assignment import Assignment
from loadtest.generator.generator import Generator
from loadtest.generator.process import PROGRESS_SECONDS, run_process, sizes
from loadtest.generator.process_pipe import ProcessPipe
from loadtest.generator.realtime import refusal
from loadtest.generator.recording import Recording, merge
from loadtest.generator.start_gate import StartGate
from loadtest.load.plan import Plan, Progress, Share
from loadtest.rows.dataset import Dataset
from loadtest.rows.shared_rows import SharedRows, shared

# All processes start at the same moment; this delay gives the start message time to arrive.
_START_DELAY_NS = 50_000_000
_JOIN_SECONDS = 5.0

OnProgress = Callable[[Progress], None]


class Fleet(Protocol):
    """Generators that are ready to run plans, one after another.

    Attributes:
        request_bytes: Size of the smallest and largest request in bytes; with several processes
            (0, 0) before the first run.
    """

    request_bytes: tuple[int, int]

    async def run(self, plan: Plan, on_progress: OnProgress) -> Recording:
        """Warm up, carry out a plan, and return its recording.

        Args:
            plan: The load.
            on_progress: Called every 0.25 seconds, and once after the last request.

        Raises:
            PeerGone: A generator process ended unexpectedly; its recording is lost.
        """
        ...

    def stop(self, kind: str, reason: str) -> None:
        """End the current plan, see Generator.stop."""
        ...

    def abandon(self) -> None:
        """Cancel the requests under way."""
        ...


class LocalFleet:
    """One generator in this process."""

    def __init__(
        self, assignment: Assignment, payloads: Sequence[bytes], gate: StartGate | None = None
    ) -> None:
        """Create the connections; the first requests open them.

        Args:
            assignment: Target, API and connections.
            payloads: The assignment's request bodies.
            gate: What every run waits for after its warm-up; None to start at once.
        """
        self._gate = gate
        self.request_bytes = sizes(payloads)
        self._payloads = payloads
        self._connections = assignment.connections
        self._sender = assignment.sender(assignment.connections)
        self._generator: Generator | None = None

    async def run(self, plan: Plan, on_progress: OnProgress) -> Recording:
        """See Fleet."""
        generator = self._generator = Generator(
            plan, self._sender, self._payloads, connections=self._connections
        )
        ticker = asyncio.create_task(_tick(generator, on_progress))
        try:
            await generator.warm_up()
            start_ns = time.monotonic_ns()
            if self._gate is not None:
                start_ns = await self._gate.start_ns()
            recording = await generator.run(start_ns)
        finally:
            ticker.cancel()
        on_progress(generator.progress())
        return recording

    def stop(self, kind: str, reason: str) -> None:
        """See Fleet."""
        if self._gate is not None:
            self._gate.give_up()
        if self._generator is not None:
            self._generator.stop(kind, reason)

    def abandon(self) -> None:
        """See Fleet."""
        if self._generator is not None:
            self._generator.abandon()

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.close()


class ProcessFleet:
    """Several generators, each in a child process with its share of the plan.

    The processes are spawned, not forked: gRPC does not survive a fork.
    """

    def __init__(
        self,
        assignment: Assignment,
        rows: SharedRows,
        processes: int,
        gate: StartGate | None = None,
        *,
        realtime: bool = False,
    ) -> None:
        """Start the processes; each builds its requests itself.

        Args:
            assignment: Target, API and connections.
            rows: The rows; their files must exist until the first run.
            processes: Number of processes.
            gate: What every run waits for after its warm-up; None to start at once.
            realtime: Whether they take real-time priority; see `realtime.refusal`.
        """
        self._gate = gate
        self.request_bytes = (0, 0)
        context = multiprocessing.get_context("spawn")
        self._processes = []
        self._pipes = []
        for process in range(processes):
            ours, theirs = context.Pipe()
            child = context.Process(
                target=run_process,
                args=(theirs, assignment, rows, Share(process, processes), realtime),
                daemon=True,
            )
            child.start()
            theirs.close()  # otherwise the pipe would stay open when the child ends
            self._processes.append(child)
            self._pipes.append(ProcessPipe(ours))

    async def run(self, plan: Plan, on_progress: OnProgress) -> Recording:
        """See Fleet."""
        self._tell("run", plan)
        for pipe in self._pipes:
            self.request_bytes = await pipe.expect("warm")
        start_ns = time.monotonic_ns() + _START_DELAY_NS
        if self._gate is not None:
            start_ns = await self._gate.start_ns()
        self._tell("start", start_ns)
        counts = [Progress() for _ in self._pipes]

        def tell() -> None:
            on_progress(sum(counts, Progress()))
            counts[:] = [replace(each, increments=()) for each in counts]

        async def collect(index: int, pipe: ProcessPipe) -> Recording:
            while True:
                kind, value = await pipe.receive()
                if kind == "recording":
                    recording: Recording = value
                    return recording
                told = counts[index].increments + value.increments
                counts[index] = replace(value, increments=told)
                if index == 0:  # one report for all processes, each time the first one reports
                    tell()

        collecting = (collect(index, pipe) for index, pipe in enumerate(self._pipes))
        recordings = await asyncio.gather(*collecting)
        tell()
        return merge(recordings)

    def stop(self, kind: str, reason: str) -> None:
        """See Fleet."""
        if self._gate is not None:
            self._gate.give_up()
        self._tell("stop", (kind, reason))

    def abandon(self) -> None:
        """See Fleet."""
        self._tell("abandon", None)

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(timeout=_JOIN_SECONDS)
            process.kill()

    def _tell(self, kind: str, value: object) -> None:
        for pipe in self._pipes:
            pipe.send(kind, value)


@contextlib.asynccontextmanager
async def fleet(
    assignment: Assignment,
    dataset: Dataset,
    processes: int,
    gate: StartGate | None = None,
    *,
    realtime: bool = False,
) -> AsyncIterator[Fleet]:
    """Yield the generators for an assignment, and close them afterwards.

    Args:
        assignment: Target, API, images and connections.
        dataset: The rows.
        processes: 1 runs one generator in this process, unless `realtime`; more start this number
            of processes.
        gate: What every run waits for after its warm-up; None to start at once.
        realtime: Whether to run it in processes with real-time priority, if the kernel allows it.

    Raises:
        UsageError: The rows for several processes cannot be written.
    """
    realtime = realtime and refusal() is None
    if processes == 1 and not realtime:
        local = LocalFleet(assignment, assignment.payloads(dataset), gate)
        try:
            yield local
        finally:
            await local.close()
    else:
        with shared(dataset) as rows:
            several = ProcessFleet(assignment, rows, processes, gate, realtime=realtime)
            try:
                yield several
            finally:
                several.close()


async def _tick(generator: Generator, on_progress: OnProgress) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        on_progress(generator.progress())
