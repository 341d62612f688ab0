"""Servers for tests, in this process or in another one."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue

import uvloop

from serving.server import ModelServer
from serving.settings.config import ServerConfig

START_SECONDS = 60
STOP_SECONDS = 30


@contextmanager
def in_this_process(models_dir: Path | None, **settings: object) -> Iterator[str]:
    """Serve a models folder as `model_server` does; yield `127.0.0.1:port`."""
    with model_server(models_dir, **settings) as server:
        yield f"127.0.0.1:{server.port}"


@contextmanager
def model_server(models_dir: Path | None, **settings: object) -> Iterator[ModelServer]:
    """Serve a models folder from a daemon thread of this process; yield the server.

    The event loop does not run in the main thread, because uvloop does not react there to the
    signal that ends a test after its time limit. A daemon thread that hangs does not keep pytest
    alive.

    Raises:
        TimeoutError: the server did not stop.
    """
    config = ServerConfig(**{"models_dir": models_dir, "host": "127.0.0.1", "port": 0} | settings)
    started: Queue[ModelServer | BaseException] = Queue()
    stopping = threading.Event()

    async def serve() -> None:
        try:
            server = ModelServer(config)
            await server.start()
        except BaseException as error:
            started.put(error)
            raise
        started.put(server)
        await asyncio.to_thread(stopping.wait)
        await server.stop()

    thread = threading.Thread(target=lambda: uvloop.run(serve()), name="server", daemon=True)
    thread.start()
    try:
        outcome = started.get(timeout=START_SECONDS)
        if isinstance(outcome, BaseException):
            raise outcome
        yield outcome
    finally:
        stopping.set()
        thread.join(STOP_SECONDS)
        if thread.is_alive():
            msg = f"the server of this process did not stop within {STOP_SECONDS} s"
            raise TimeoutError(msg)


@dataclass
class ServerProcess:
    """`python -m serving` as a child process whose log is read line by line."""

    process: "subprocess.Popen[str]"
    log: list[str] = field(default_factory=list)
    _lines: "Queue[str]" = field(default_factory=Queue)

    def __post_init__(self) -> None:
        """Read the log in a thread, so that the child never blocks on a full pipe."""
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            self._lines.put(line)

    def wait_for(self, pattern: str, timeout: float = START_SECONDS) -> "re.Match[str]":
        """Return the first match of a pattern in the log lines after the previous call's match."""
        while True:
            try:
                line = self._lines.get(timeout=timeout)
            except Empty:
                text = "".join(self.log)
                msg = f"no log line matches {pattern!r} within {timeout} s; log:\n{text}"
                raise TimeoutError(msg) from None
            if match := re.search(pattern, line):
                return match

    def read_to_end(self) -> None:
        """Wait until no process writes to the log any more."""
        self._reader.join(STOP_SECONDS)

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def as_process(*flags: str, **environment: str) -> Iterator[ServerProcess]:
    """Start `python -m serving` with these flags and environment variables."""
    process = subprocess.Popen(
        [sys.executable, "-m", "serving", "--host", "127.0.0.1", *flags],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    with followed(process) as server:
        yield server


@contextmanager
def followed(process: "subprocess.Popen[str]") -> Iterator[ServerProcess]:
    """Read the log of a process that serves, and kill it at the end."""
    server = ServerProcess(process)
    try:
        yield server
    finally:
        process.kill()
        process.wait(STOP_SECONDS)
        server.read_to_end()  # worker processes end after their parent
        assert process.stderr is not None
        process.stderr.close()
