"""A generator in a child process; it carries out the plans that its parent sends.

Messages to the child: run (plan), start (monotonic time in nanoseconds), stop (kind, reason) and
abandon. Messages from the child: warm (smallest and largest request in bytes), progress (Progress)
and recording (Recording).
"""

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection

from loadtest.generator.assignment import Assignment
from loadtest.generator.event_loop import run_event_loop
from loadtest.generator.generator import Generator
from loadtest.generator.process_pipe import PeerGone, ProcessPipe
from loadtest.generator.realtime import raise_priority
from loadtest.load.plan import Share
from loadtest.rows.shared_rows import SharedRows

PROGRESS_SECONDS = 0.25


def run_process(
    connection: Connection,
    assignment: Assignment,
    rows: SharedRows,
    share: Share,
    realtime: bool,
) -> None:
    """Carry out the parent's messages until the parent closes its end of the pipe.

    Args:
        connection: Pipe to the parent.
        assignment: Target, API and connections.
        rows: The rows of the parent.
        share: This process' part of each plan.
        realtime: Whether to take real-time priority, which the parent has found allowed.
    """
    if realtime:
        raise_priority()  # before any thread starts, so that all threads have it
    # Ctrl-C reaches every process of a terminal; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    payloads = assignment.payloads(rows.dataset())
    run_event_loop(_follow(connection, assignment, share, payloads))


def sizes(payloads: Sequence[bytes]) -> tuple[int, int]:
    """Return the sizes of the smallest and the largest body in bytes."""
    return min(map(len, payloads)), max(map(len, payloads))


async def _follow(
    connection: Connection, assignment: Assignment, share: Share, payloads: Sequence[bytes]
) -> None:
    pipe = ProcessPipe(connection)
    connections = max(1, share.of(assignment.connections))
    sender = assignment.sender(connections)
    generator: Generator | None = None
    start: asyncio.Future[int] | None = None
    working: asyncio.Task[None] | None = None
    with contextlib.suppress(PeerGone):
        while True:
            kind, value = await pipe.receive()
            if kind == "run":
                generator = Generator(value, sender, payloads, connections=connections, share=share)
                start = asyncio.get_running_loop().create_future()
                working = asyncio.create_task(_carry_out(generator, start, pipe, sizes(payloads)))
            elif kind == "start" and start is not None:
                start.set_result(value)
            elif kind == "stop" and generator is not None:
                generator.stop(*value)
            elif kind == "abandon" and generator is not None:
                generator.abandon()
    if working is not None:
        working.cancel()
    await sender.close()


async def _carry_out(
    generator: Generator,
    start: "asyncio.Future[int]",
    pipe: ProcessPipe,
    request_bytes: tuple[int, int],
) -> None:
    """Warm up, wait for the start message, run, and send the recording to the parent."""
    ticker = asyncio.create_task(_report_progress(generator, pipe))
    try:
        await generator.warm_up()
        pipe.send("warm", request_bytes)
        recording = await generator.run(await start)
        pipe.send("progress", generator.progress())
        pipe.send("recording", recording)
    except BaseException:
        pipe.close()  # the parent must not wait for a recording that will not come
        raise
    finally:
        ticker.cancel()


async def _report_progress(generator: Generator, pipe: ProcessPipe) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        pipe.send("progress", generator.progress())
