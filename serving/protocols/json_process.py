"""Child processes that read and write large JSON, which would block the event loop.

A thread would not help: the parsers hold Python's global lock from the first byte to the last, and
each megabyte takes tens of milliseconds. A child starts when it is first needed, does one job at a
time, is killed if no caller waits for its job any more, and ends with its parent. A job is a
function and its arguments, pickled; arrays are pickled in binary form.
"""

import asyncio
import contextlib
import ctypes
import gc
import pickle
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from serving.access import flow
from serving.engine.machine import return_freed_memory, return_large_blocks
from serving.errors import ResourceExhausted, ServingError, Unavailable
from serving.transport.asgi import Disconnected
from serving.transport.limits.byte_budget import Hold
from serving.transport.route_table import HttpRequest
from serving.uncancelled import uncancelled

# A child ends after this time without a job. It takes 35 MB; a new one takes a third of a second to
# start.
_IDLE_SECONDS = 20.0
# Below this size, parsing in the event loop blocks it for less time than pickling to a child does.
LARGE_BYTES = 256 << 10
ELEMENT_BYTES = 8  # roughly what an element of a tensor takes in JSON
# Copies of a job's bytes beside the original: one while they are sent, and one in the child.
_COPIES = 2
# Jobs over this size may not occupy all children: one child remains for smaller jobs.
_HUGE_BYTES = 8 << 20
# The memory that a child may take in addition to what it has when it starts.
_MEMORY_BYTES = 2 << 30
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h
_LENGTH_BYTES = 8
# A job may still finish within this time after its caller is gone: killing the child saves nothing
# then, because starting a new one takes about as long.
_GRACE_SECONDS = 0.25

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(eq=False)
class _Turn:
    """A job that waits for a child, or has one.

    Attributes:
        size: Bytes of JSON that the job reads or writes, roughly.
        flow: The client, see `serving.access.flow`; None if there is none.
        turn: Gets the child when it is the job's turn.
    """

    size: int
    flow: Hashable
    turn: "asyncio.Future[_Child]"


class JsonProcesses:
    """Runs jobs in child processes. Use it from one event loop only."""

    def __init__(self, most: int = 2) -> None:
        """Prepare; no child is started yet.

        Args:
            most: Most children at a time, at least 2: neither the jobs of one client nor huge jobs
                may occupy all of them.
        """
        self._most = most
        self._idle: list[_Child] = []
        self._running: dict[_Child, _Turn] = {}
        self._waiting: list[_Turn] = []
        self._retiring: set[asyncio.Task[None]] = set()

    async def run(
        self,
        size: int,
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Call a function that belongs to no request; see `run_for`."""
        return await self.run_for(None, size, function, *args, **kwargs)

    async def run_for(
        self,
        request: HttpRequest | None,
        size: int,
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Call a function: in the event loop if it has little to do, otherwise in a child.

        Of the waiting jobs, those whose client occupies the fewest children come first, and among
        these the smallest. If this call is cancelled or the caller disconnects, the child that runs
        the job is killed after a short delay.

        Args:
            request: The request that the job belongs to, or None. Its `hold` counts the copies of
                the job's bytes and the pickled result.
            size: Bytes of JSON that the function reads or writes, roughly.
            function: A function at a module's top level. It is pickled, like its arguments and its
                result.
            *args: Positional arguments of the function.
            **kwargs: Keyword arguments of the function.

        Raises:
            Disconnected: the caller of the request has disconnected.
            ResourceExhausted: the job needs more memory than a child may have.
            Unavailable: the child process ended while it ran the job.
            ServingError: raised by the function, or see `Hold.take`.
        """
        if size <= LARGE_BYTES:
            return function(*args, **kwargs)
        if request is None or request.hold is None:
            result: Result = await self._run(request, size, (function, args, kwargs))
            return result
        hold, copies = request.hold, _COPIES * size
        hold.take(copies)
        try:
            result = await self._run(request, size, (function, args, kwargs))
        finally:
            hold.give_back(copies)
        return result

    async def _run(self, request: HttpRequest | None, size: int, work: object) -> Any:  # noqa: ANN401 - the function's result
        future = asyncio.get_running_loop().create_future()
        child = await self._turn(_Turn(size, flow.CURRENT.get(), future))
        hold = request.hold if request is not None else None
        job = asyncio.create_task(child.do(work, hold))
        job.add_done_callback(lambda job: self._finished(child, job))
        try:
            outcome = await _unless_gone(job, request)
        except BaseException:
            if not job.done():
                asyncio.get_running_loop().call_later(_GRACE_SECONDS, child.kill_if_running, job)
            raise
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def _turn(self, turn: _Turn) -> "_Child":
        self._waiting.append(turn)
        self._assign()
        try:
            return await turn.turn
        except asyncio.CancelledError:
            if turn.turn.done() and not turn.turn.cancelled():
                self._give_back(turn.turn.result())
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _assign(self) -> None:
        """Give free children to the waiting jobs that come first."""
        while len(self._running) < self._most:
            turn = min(filter(self._may_run, self._waiting), key=self._rank, default=None)
            if turn is None:
                return
            self._waiting.remove(turn)
            child = self._idle.pop() if self._idle else _Child()
            self._running[child] = turn
            turn.turn.set_result(child)

    def _may_run(self, turn: _Turn) -> bool:
        running = self._running.values()
        is_huge = turn.size > _HUGE_BYTES
        return (
            not turn.turn.done()
            and sum(other.flow == turn.flow for other in running)
            < self._most - (turn.flow is not None)
            and not (is_huge and sum(o.size > _HUGE_BYTES for o in running) >= self._most - 1)
        )

    def _rank(self, turn: _Turn) -> tuple[int, int]:
        return sum(other.flow == turn.flow for other in self._running.values()), turn.size

    def _finished(self, child: "_Child", job: "asyncio.Task[Any]") -> None:
        if not job.cancelled():
            job.exception()  # marks the error as seen, even if the caller has given up
        self._give_back(child)

    def _give_back(self, child: "_Child") -> None:
        del self._running[child]
        self._idle.append(child)
        self._assign()
        if child in self._idle:
            asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._retire, child, child.jobs)

    def _retire(self, child: "_Child", jobs: int) -> None:
        """End a child if it is idle and has not done more than `jobs` jobs."""
        if child in self._idle and child.jobs == jobs:
            self._idle.remove(child)
            closing = asyncio.create_task(child.close())
            self._retiring.add(closing)
            closing.add_done_callback(self._retiring.discard)

    async def close(self) -> None:
        """End all children."""
        closing = [child.close() for child in [*self._idle, *self._running]]
        await asyncio.gather(*closing, *self._retiring)


async def _unless_gone(job: "asyncio.Task[Any]", request: HttpRequest | None) -> Any:  # noqa: ANN401 - the job's result
    """Wait for a job until its caller disconnects, and return the job's result.

    Raises:
        Disconnected: the caller has disconnected before the job ended.
    """
    if request is None or request.wait_for_disconnect is None:
        return await uncancelled(job)
    gone = asyncio.ensure_future(request.wait_for_disconnect())
    try:
        await asyncio.wait({job, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
    if not job.done():
        raise Disconnected
    return job.result()


class _Child:
    """One child process, started with its first job.

    Attributes:
        jobs: Number of jobs so far.
    """

    def __init__(self) -> None:
        self.jobs = 0
        self._process: asyncio.subprocess.Process | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._job: asyncio.Task[Any] | None = None

    async def do(self, job: object, hold: Hold | None) -> Any:  # noqa: ANN401 - the job's result
        """Run a job in the process.

        Args:
            job: Function, positional arguments and keyword arguments, to be pickled.
            hold: Counts the bytes of the pickled result while it is read; None disables counting.

        Returns:
            The function's result, or the error that it raised as an object.

        Raises:
            Unavailable: the process ended while it ran the job.
            ServingError: see `Hold.take`.
        """
        self._job = asyncio.current_task()
        self.jobs += 1
        if self._streams is None:
            self._streams = await self._start()
        reader, writer = self._streams
        try:
            content = pickle.dumps(job, pickle.HIGHEST_PROTOCOL)
            writer.writelines([len(content).to_bytes(_LENGTH_BYTES), content])
            del content, job
            await writer.drain()
            length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
            if hold is None:
                return pickle.loads(await reader.readexactly(length))  # noqa: S301 - from our own child
            hold.take(length)
            outcome = pickle.loads(await reader.readexactly(length))  # noqa: S301 - from our own child
            hold.give_back(length)  # the arrays in it are counted when they are admitted
        except (ConnectionError, EOFError) as error:
            await self.close()
            msg = "the process that reads and writes large JSON has ended; retry, or send less"
            raise Unavailable(msg) from error
        except ServingError:
            await self.close()  # the answer is still unread, so the connection cannot be used again
            raise
        return outcome

    def kill_if_running(self, job: "asyncio.Task[Any]") -> None:
        """Kill the process if it still runs this job."""
        if self._job is job and not job.done() and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        own_end, end_of_child = socket.socketpair()
        with end_of_child:
            self._process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "serving.protocols.json_process",
                    str(end_of_child.fileno()),
                ),
                pass_fds=[end_of_child.fileno()],
                # In its own session: Ctrl-C in a terminal reaches only the server.
                start_new_session=True,
            )
        own_end.setblocking(False)
        return await asyncio.open_unix_connection(sock=own_end)

    async def close(self) -> None:
        """End the process, if there is one; no caller waits for its current job."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None


def main() -> None:
    """Run the child process: do the jobs that the parent sends, until it closes the connection."""
    # A job's data has no reference cycles, and its millions of lists would cause many collections.
    gc.disable()
    return_large_blocks()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _limit_memory()
    _end_with_parent()
    with (
        contextlib.suppress(ConnectionError),  # the parent has ended in the middle of a job
        socket.socket(fileno=int(sys.argv[1])) as connection,
        connection.makefile("rwb") as stream,
    ):
        while header := stream.read(_LENGTH_BYTES):
            length = int.from_bytes(header)
            answer = _do(stream.read(length))
            stream.write(len(answer).to_bytes(_LENGTH_BYTES))
            stream.write(answer)
            stream.flush()
            del answer
            gc.collect()  # errors do have reference cycles, which keep the job's data alive
            if length > _HUGE_BYTES:
                return_freed_memory()


def _end_with_parent() -> None:
    """Have Linux kill this process when the server ends, even in the middle of a job."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _limit_memory() -> None:
    """Limit this process's memory, so that a job fails before it takes the machine's memory."""
    import numpy as np  # noqa: F401, PLC0415 - the jobs' largest import: not part of their limit

    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmData:"))
        now = int(line.split()[1]) << 10
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (now + _MEMORY_BYTES, most))


def _do(job: bytes) -> bytes:
    try:
        function, args, kwargs = pickle.loads(job)  # noqa: S301 - from our own parent
        outcome = function(*args, **kwargs)
    except ServingError as error:
        outcome = error
    except MemoryError:
        outcome = ResourceExhausted(
            f"JSON takes over {_MEMORY_BYTES} bytes of memory to read or write; send smaller "
            "batches, or tensors in binary"
        )
    except Exception:  # noqa: BLE001 - the parent logs it
        outcome = RuntimeError(traceback.format_exc())
    return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    main()
