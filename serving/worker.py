"""A worker process: what its supervisor gives it, and how the two talk.

Two pipes join them. On the one the worker says `ready`, or `error` and why it cannot start; on the
other it is told to call itself ready, and when that one closes, the supervisor is gone.
"""

import asyncio
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from serving.listeners import Listeners

VARIABLE = "ONNX_SERVING_WORKER"
READY = b"ready\n"
ERROR = b"error "
GO = b"go\n"


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a worker is to do; numbers are file descriptors if nothing else is said.

    Attributes:
        number: Of the worker, counted from 1.
        port: The gRPC port.
        rpc: Sockets that listen for gRPC.
        rest: Sockets that listen for REST.
        status: Where the worker reports.
        control: Where it is told.
    """

    number: int
    port: int
    rpc: Sequence[int]
    rest: Sequence[int]
    status: int
    control: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Assignment | None":
        """The assignment of this process; None if it is no worker."""
        text = environment.get(VARIABLE)
        return None if text is None else cls(**json.loads(text))

    def to_json(self) -> str:
        """The value of the environment variable."""
        return json.dumps(asdict(self))

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All that the process must inherit."""
        return (*self.rpc, *self.rest, self.status, self.control)

    def listeners(self) -> Listeners:
        """The sockets."""
        return Listeners(
            rpc=[socket.socket(fileno=descriptor) for descriptor in self.rpc],
            rest=[socket.socket(fileno=descriptor) for descriptor in self.rest],
        )


class Link:
    """The worker's end of the pipes. To be made in the event loop that uses it."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._reader: asyncio.StreamReader | None = None

    async def open(self) -> None:
        """Begin to listen to the supervisor."""
        loop = asyncio.get_running_loop()
        self._reader = reader = asyncio.StreamReader()
        pipe = os.fdopen(self._assignment.control, "rb", buffering=0)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        self._told = asyncio.Event()
        self._gone = asyncio.Event()
        self._listening = asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            if line == GO:
                self._told.set()
        self._gone.set()

    async def wait_for_others(self) -> None:
        """Say that the models are loaded, and wait until the other workers' are."""
        os.write(self._assignment.status, READY)
        await self._told.wait()

    async def wait_closed(self) -> None:
        """Return when the supervisor is gone."""
        await self._gone.wait()


def report_error(assignment: Assignment, message: str) -> None:
    """Say why this worker cannot start."""
    os.write(assignment.status, ERROR + message.replace("\n", " ").encode() + b"\n")
