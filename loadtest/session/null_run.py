"""A run's load on the null server, which answers at once: the floor under the run's figures."""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace

from loadtest.figures import sections
from loadtest.figures.percentiles import samples_needed
from loadtest.generator.assignment import Assignment
from loadtest.generator.fleet import fleet
from loadtest.load.plan import Plan
from loadtest.report_sections_schema import Floor
from loadtest.rows.dataset import Dataset
from loadtest.servers.null import LISTENING
from loadtest.settings.config import PLAIN, UsageError

# Three times the requests that a 99th percentile needs; they take a few seconds.
_MAX_REQUESTS = 3 * samples_needed(99)
_START_SECONDS = 30.0


async def measure(
    plan: Plan,
    assignment: Assignment,
    *,
    dataset: Dataset,
    processes: int,
    answer: bytes,
) -> Floor:
    """Run the first requests of a plan against a null server on this machine.

    Args:
        plan: Load of the run; of a shape, its highest rate is used, of a replay its mean rate.
        assignment: Requests of the run; its target and connection are replaced, but they are
            compressed as in the run.
        dataset: The rows.
        processes: Number of generator processes.
        answer: Body of a real answer, which the null server repeats.

    Raises:
        UsageError: The null server does not start.
    """
    requests = min(plan.requests or _MAX_REQUESTS, _MAX_REQUESTS)
    if plan.duration_seconds is not None and plan.rate_per_second is not None:
        expected = plan.duration_seconds * plan.rate_per_second
        requests = max(1, min(requests, int(expected)))
    # A shape begins with any of its rates; the highest one costs the client most.
    rate = plan.rate_per_second if plan.course is None else plan.course.peak_rate
    short = replace(
        plan, requests=requests, duration_seconds=None, rate_per_second=rate, course=None
    )
    async with null_server(answer) as target:
        there = replace(
            assignment,
            target=target,
            connection=replace(PLAIN, compression=assignment.connection.compression),
            queries=min(requests, _MAX_REQUESTS),
        )
        async with fleet(there, dataset, processes) as generators:
            return sections.floor(await generators.run(short, lambda _: None))


@contextlib.asynccontextmanager
async def null_server(answer: bytes) -> AsyncIterator[str]:
    """Start a null server in a child process, yield its address, and kill it afterwards.

    Args:
        answer: Body of its answers.

    Raises:
        UsageError: The null server does not start.
    """
    # A file without a name: no temporary file is left over, even if this process is killed.
    with tempfile.TemporaryFile() as file:
        file.write(answer)
        file.seek(0)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtest", "null-server"),
            *("--answer", f"/dev/fd/{file.fileno()}", "--exit-with-stdin"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=(file.fileno(),),
            start_new_session=True,  # Ctrl-C is for the load generator to handle
        )
        try:
            yield await asyncio.wait_for(_address(process), _START_SECONDS)
        except TimeoutError as error:
            msg = f"the null server is not up after {_START_SECONDS:g} s; run without --floor"
            raise UsageError(msg) from error
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    if process.stdout is not None:
        async for line in process.stdout:
            text = line.decode().strip()
            if text.startswith(LISTENING):
                return text.removeprefix(LISTENING)
    msg = "the null server ended at once; run without --floor"
    raise UsageError(msg)
