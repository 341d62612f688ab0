"""A child process that reads and writes large JSON, so that the event loop goes on meanwhile.

A thread would not do: the parsers hold Python's lock from the first byte to the last, and each
megabyte takes tens of milliseconds. The child is started when it is first needed, takes one job at
a time, and ends with its parent. A job is a function and its arguments, pickled; arrays travel as
they are.
"""

import asyncio
import contextlib
import gc
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from serving.errors import ServingError, Unavailable

# What is smaller costs less than the way to the child and back would hold up others.
LARGE_BYTES = 256 << 10
_LENGTH_BYTES = 8

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class JsonProcess:
    """The parent's side. To be used in one event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(
        self,
        size: int,
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Call a function: at once if it has little to do, else in the child.

        Args:
            size: Bytes of JSON that it reads or writes, more or less.
            function: Of a module's top level; like its arguments and result it is pickled.
            *args: Its arguments.
            **kwargs: Likewise.

        Raises:
            Unavailable: the child has died of it.
            ServingError: what the function raises.
        """
        if size <= LARGE_BYTES:
            return function(*args, **kwargs)
        await self._turn.acquire()
        # A caller that gives up must not leave half of an answer behind for the next one.
        job = asyncio.create_task(self._exchange((function, args, kwargs)))
        job.add_done_callback(self._finished)
        outcome = await asyncio.shield(job)
        if isinstance(outcome, BaseException):
            raise outcome
        result: Result = outcome
        return result

    def _finished(self, job: "asyncio.Task[Any]") -> None:
        self._turn.release()
        if not job.cancelled():
            job.exception()  # seen, even if the caller has given up

    async def _exchange(self, job: object) -> Any:  # noqa: ANN401 - whatever the job gives
        if self._streams is None:
            self._streams = await self._start()
        reader, writer = self._streams
        try:
            content = pickle.dumps(job, pickle.HIGHEST_PROTOCOL)
            writer.writelines([len(content).to_bytes(_LENGTH_BYTES), content])
            await writer.drain()
            length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
            return pickle.loads(await reader.readexactly(length))  # noqa: S301 - from our own child
        except (ConnectionError, EOFError) as error:
            await self.close()
            msg = "the process that reads and writes large JSON has ended; retry, or send less"
            raise Unavailable(msg) from error

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
                # Ctrl-C in a terminal reaches the server alone.
                start_new_session=True,
            )
        own_end.setblocking(False)
        return await asyncio.open_unix_connection(sock=own_end)

    async def close(self) -> None:
        """End the child, if there is one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()  # nobody waits for what it may be at
            await self._process.wait()
            self._process = None


def main() -> None:
    """The child: do what the parent sends, until it hangs up."""
    # A job's data has no cycles, and millions of small lists would have them looked for.
    gc.disable()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with (
        contextlib.suppress(ConnectionError),  # the parent has ended in the middle of a job
        socket.socket(fileno=int(sys.argv[1])) as connection,
        connection.makefile("rwb") as stream,
    ):
        while header := stream.read(_LENGTH_BYTES):
            answer = _do(stream.read(int.from_bytes(header)))
            stream.write(len(answer).to_bytes(_LENGTH_BYTES))
            stream.write(answer)
            stream.flush()
            del answer
            gc.collect()  # errors do have cycles, and hold on to what they were about


def _do(job: bytes) -> bytes:
    try:
        function, args, kwargs = pickle.loads(job)  # noqa: S301 - from our own parent
        outcome = function(*args, **kwargs)
    except ServingError as error:
        outcome = error
    except Exception:  # noqa: BLE001 - the parent logs it
        outcome = RuntimeError(traceback.format_exc())
    return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    main()


ELEMENT_BYTES = 8  # that an element of a tensor takes in JSON, more or less
