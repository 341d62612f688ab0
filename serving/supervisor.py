"""The supervisor: several worker processes behind the same ports.

Each worker has a listening socket of its own on the one port, and the kernel spreads connections
over them by a hash of the addresses. One shared socket would be simpler, but the worker that wakes
up first takes all the connections that wait, and clients of gRPC keep theirs for hours. The
supervisor holds every socket open too: while a worker that died is replaced, its connections wait.

A worker runs the whole server with its share of the cores. The server is ready once all of them
are, and a worker that ends by itself is started again, at a bounded rate.
"""

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence

from serving import listeners
from serving.config import ServerConfig
from serving.errors import ConfigError
from serving.listeners import Listeners
from serving.worker import ERROR, GO, READY, VARIABLE, Assignment

logger = logging.getLogger(__name__)

_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 30.0
# A worker that lived so long did not die of how it started.
_HEALTHY_SECONDS = 60.0


@dataclasses.dataclass
class _Worker:
    """One place among the workers, whichever process fills it."""

    number: int
    sockets: Listeners
    process: asyncio.subprocess.Process | None = None
    control: int = -1
    ready: bool = False
    quick_deaths: int = 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Supervisor:
    """Starts workers, keeps them running, and stops them."""

    def __init__(self, config: ServerConfig, arguments: Sequence[str]) -> None:
        """Prepare.

        Args:
            config: The settings.
            arguments: The command line that they came from; the workers get the same.
        """
        self._config = config
        self._arguments = arguments
        self._workers: list[_Worker] = []
        self._reserved = contextlib.ExitStack()
        self._stopping = asyncio.Event()
        self._was_ready = False
        self._error = ""
        self._codes: list[int] = []
        self.port = 0

    async def run(self) -> int:
        """Serve until `stop`.

        Returns:
            0 if every worker drained and ended as it should, else 1.

        Raises:
            ConfigError: an address cannot be had, or the workers cannot start with these settings.
        """
        self._listen()
        count = len(self._workers)
        logger.info("listening on %s:%d, starting %d workers", self._config.host, self.port, count)
        try:
            await asyncio.gather(*(self._keep_running(worker) for worker in self._workers))
        finally:
            for worker in self._workers:
                worker.signal(signal.SIGKILL)
            self._close()
            if self._workers:
                self._workers[0].sockets.remove_socket_path()
        if self._error:
            raise ConfigError(self._error)
        # A worker that was still starting knows no other way to end on SIGTERM.
        return int(any(code not in {0, -signal.SIGTERM} for code in self._codes))

    def stop(self) -> None:
        """Take no more connections and let every worker drain and end."""
        self._stopping.set()
        self._close()
        for worker in self._workers:
            worker.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all of it at once."""
        for worker in self._workers:
            worker.signal(signal.SIGKILL)

    # Sockets

    def _listen(self) -> None:
        """Open the sockets of all workers.

        Raises:
            ConfigError: an address cannot be had.
        """
        config = self._config
        # A port that another server listens on could be shared with it, which nobody wants: ask
        # for it alone first.
        with listeners.listen(config.host, config.port) as probe:
            self.port = int(probe.getsockname()[1])
        if config.rest_api_port:
            flag = "--rest_api_port"
            listeners.listen(config.host, config.rest_api_port, flag=flag).close()
        by_grpcio = config.front == "grpcio"
        if by_grpcio:
            # grpcio opens its own sockets; this one keeps the port for them.
            self._reserved.enter_context(listeners.bind(config.host, self.port, shared=True))
        config = dataclasses.replace(config, port=self.port)
        first = Listeners.open(config, rpc=not by_grpcio, shared=True)
        self._workers.append(_Worker(1, first))
        # A Unix socket cannot be opened twice: all workers accept on the first one's.
        config = dataclasses.replace(config, grpc_socket_path=None)
        for number in range(2, config.workers + 1):
            sockets = Listeners.open(config, rpc=not by_grpcio, shared=True)
            rpc = [*sockets.rpc, *first.rpc[1:]]
            self._workers.append(_Worker(number, dataclasses.replace(sockets, rpc=rpc)))

    def _close(self) -> None:
        for worker in self._workers:
            for listener in (*worker.sockets.rpc, *worker.sockets.rest):
                listener.close()
        self._reserved.close()

    # Processes

    async def _keep_running(self, worker: _Worker) -> None:
        while not self._stopping.is_set():
            started = time.monotonic()
            code = await self._run(worker)
            if self._stopping.is_set():
                self._codes.append(code)
                return
            lived = time.monotonic() - started
            worker.quick_deaths = 0 if lived > _HEALTHY_SECONDS else worker.quick_deaths + 1
            delay = min(
                _FIRST_DELAY_SECONDS * 2 ** min(worker.quick_deaths, 20), _LONGEST_DELAY_SECONDS
            )
            logger.error(
                "worker %d ended by itself (exit code %d); starting it again in %.1f s",
                worker.number,
                code,
                delay,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _run(self, worker: _Worker) -> int:
        """Start a process and wait for its end; gives its exit code."""
        status, status_of_worker = os.pipe()
        control_of_worker, worker.control = os.pipe()
        assignment = Assignment(
            number=worker.number,
            port=self.port,
            rpc=[listener.fileno() for listener in worker.sockets.rpc],
            rest=[listener.fileno() for listener in worker.sockets.rest],
            status=status_of_worker,
            control=control_of_worker,
        )
        try:
            worker.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "serving", *self._arguments),
                pass_fds=assignment.descriptors,
                env=os.environ | {VARIABLE: assignment.to_json()},
                # Ctrl-C in a terminal reaches the supervisor alone, which tells the workers.
                start_new_session=True,
            )
        finally:
            os.close(status_of_worker)
            os.close(control_of_worker)
        if self._stopping.is_set():
            worker.signal(signal.SIGTERM)
        reports = asyncio.create_task(self._read_reports(worker, status))
        try:
            code = await worker.process.wait()
            await reports
        finally:
            reports.cancel()
            worker.ready = False
            os.close(worker.control)
        return code

    async def _read_reports(self, worker: _Worker, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while line := await reader.readline():
                if line == READY:
                    worker.ready = True
                    self._let_go()
                elif line.startswith(ERROR):
                    self._failed(worker, line.removeprefix(ERROR).decode().strip())
        finally:
            transport.close()

    def _let_go(self) -> None:
        """Let the workers call themselves ready, once all of them are."""
        if not self._was_ready and not all(worker.ready for worker in self._workers):
            return
        for worker in self._workers:
            if worker.ready:
                os.write(worker.control, GO)
        if not self._was_ready:
            self._was_ready = True
            logger.info("ready: %d workers", len(self._workers))

    def _failed(self, worker: _Worker, reason: str) -> None:
        if self._was_ready:
            logger.error("worker %d cannot start: %s", worker.number, reason)
        elif not self._error:
            # The settings are wrong for all of them: say so once.
            self._error = reason
            self.stop()
