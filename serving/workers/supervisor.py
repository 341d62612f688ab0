"""The supervisor: several worker processes behind the same ports.

Each worker has its own listening socket on the port, and the kernel distributes connections over
these sockets by a hash of the addresses. One shared socket would be simpler, but the worker that
wakes up first would take all waiting connections, and gRPC clients keep a connection for hours. The
supervisor keeps all sockets bound. If a worker ends, its sockets stop listening, so that the kernel
gives new connections to the other workers, until its replacement has loaded its models.

A worker runs the whole server with its share of the cores. The sockets listen when all workers have
loaded their models. The server is ready when all workers accept calls. A worker that ends by itself
is started again, with a growing delay. A worker that hangs is killed, and so replaced too.

The supervisor coordinates what concerns all workers: a reload, which all workers complete or none,
and the metrics, which are summed over all workers.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from prometheus_client import Metric

from serving.access.keys_file import KeysFile
from serving.errors import ConfigError, ServingError
from serving.monitoring import metrics_sum
from serving.monitoring.metrics_page import config_reload_failures, keys_file_failures
from serving.monitoring.metrics_sum import MetricsSum
from serving.repository import model_config
from serving.repository.model_config import ModelConfig
from serving.settings.config import ServerConfig
from serving.settings.models_file import ModelConfigFile
from serving.workers import heartbeat
from serving.workers.channel import STATISTICS, Channel
from serving.workers.environment import VARIABLE
from serving.workers.heartbeat import Heartbeat
from serving.workers.reloads import Reloads
from serving.workers.worker_process import WorkerProcess, worker_metrics
from serving.workers.worker_sockets import WorkerSockets

logger = logging.getLogger(__name__)

# Time limit for a worker's metrics. Prometheus's default timeout for a scrape is 10 seconds.
_METRICS_SECONDS = 5.0
# Time limit for a worker to take changed keys, so that one that hangs does not hold up the next
# check of the file.
_KEYS_SECONDS = 5.0
# Number of the supervisor among the processes whose metrics are summed; workers have 1 and above.
_SUPERVISOR = 0


class Supervisor:
    """Starts workers, keeps them running, and stops them."""

    def __init__(self, config: ServerConfig, arguments: Sequence[str]) -> None:
        """Create a supervisor; no port is bound and no worker started yet.

        Args:
            config: The settings.
            arguments: Command-line arguments of this process, which the workers get too.
        """
        self._config = config
        self._arguments = arguments
        self._workers: list[WorkerProcess] = []
        self._sockets: WorkerSockets | None = None
        self._stopping = asyncio.Event()
        self._all_loaded = asyncio.Event()
        self._all_ready = asyncio.Event()
        self._model_config_file: ModelConfigFile | None = None
        self._keys_file: KeysFile | None = None
        self._reloads = Reloads(self._workers)
        self._metrics = MetricsSum()
        self._statistics = MetricsSum()
        self._restarts = 0
        self._error = ""
        self._codes: list[int] = []
        self.port = 0

    async def run(self) -> int:
        """Serve until `stop`.

        Returns:
            The exit code: 0 if all workers drained and ended without an error, else 1.

        Raises:
            ConfigError: an address cannot be bound, the model config file or the keys file is
                invalid, or a worker cannot start with these settings.
        """
        if self._config.api_keys_file is not None:
            self._keys_file = KeysFile(self._config.api_keys_file)
        if self._config.model_config_file is not None:
            self._model_config_file = ModelConfigFile(
                self._config.model_config_file, retry_seconds=self._config.manager().retry_seconds
            )
            self._reloads.models = model_config.to_json(self._model_config_file.models)
        sockets = self._sockets = WorkerSockets.open(self._config)
        self.port = sockets.port
        self._workers += [
            WorkerProcess(number + 1, sockets.of_workers) for number in range(self._config.workers)
        ]
        logger.info(
            "bound %s:%d, starting %d workers; connections are refused until models are loaded",
            self._config.host,
            self.port,
            len(self._workers),
        )
        watching = [asyncio.create_task(watch) for watch in self._watches()]
        try:
            await asyncio.gather(*(self._keep_running(worker) for worker in self._workers))
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            self.kill()
            sockets.close()
            sockets.remove_socket_path()
        if self._error:
            raise ConfigError(self._error)
        # SIGTERM ends a worker that has not installed its signal handlers yet.
        return int(any(code not in {0, -signal.SIGTERM} for code in self._codes))

    def stop(self) -> None:
        """Let all workers end: after `lame_duck_seconds` they drain, and the ports are closed."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(self._config.lame_duck_seconds, self._stop_listening)

    def drain(self) -> None:
        """End the lame duck of all workers."""
        self._stop_listening()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill all workers at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            worker.signal(number)

    def _stop_listening(self) -> None:
        if self._sockets is not None:
            self._sockets.close()

    # Processes

    async def _keep_running(self, worker: WorkerProcess) -> None:
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                code = await self._run(worker)
                ended = "because it was hanging" if worker.hung else "by itself"
            except OSError as error:  # no process could be made, for example for lack of memory
                code, ended = 1, f"before it began: {error}"
            if self._stopping.is_set():
                self._codes.append(code)
                return
            self._restarts += 1
            delay = worker.restart_delay(time.monotonic() - started)
            logger.error(
                "worker %d ended %s (exit code %d); starting it again in %.1f s",
                worker.number,
                ended,
                code,
                delay,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _run(self, worker: WorkerProcess) -> int:
        """Start a worker's process, wait for its end, and return its exit code."""
        own_end, end_of_worker = socket.socketpair()
        replaces = self._all_ready.is_set()
        assignment = worker.assignment(self.port, end_of_worker, replaces=replaces)
        with contextlib.ExitStack() as opened:
            opened.enter_context(end_of_worker)
            on_failure = opened.enter_context(contextlib.ExitStack())
            on_failure.callback(own_end.close)
            worker.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "serving", *self._arguments),
                pass_fds=assignment.descriptors,
                env=os.environ | {VARIABLE: assignment.to_json()},
                # Ctrl-C in a terminal reaches only the supervisor, which signals the workers.
                start_new_session=True,
            )
            on_failure.pop_all()
        if self._stopping.is_set():
            worker.signal(signal.SIGTERM)
        worker.hung = False
        channel = self._channel_of(worker)
        await channel.open(own_end)
        worker.channel = channel  # only now can the worker be asked for its metrics
        try:
            code = await worker.process.wait()
            worker.stop_listening(self._others(worker))
            await channel.wait_closed()
        finally:
            worker.loaded = worker.ready = worker.leaving = False
            worker.channel = None
            if worker.heartbeat is not None:
                worker.heartbeat.stop()
                worker.heartbeat = None
            channel.close()
            self._metrics.ended(worker.number)
            self._statistics.ended(worker.number)
        return code

    def _others(self, worker: WorkerProcess) -> list[WorkerProcess]:
        return [other for other in self._workers if other is not worker]

    # Messages of the workers

    def _channel_of(self, worker: WorkerProcess) -> Channel:
        channel = Channel()
        channel.told = {
            "error": partial(self._failed, worker),
            "loaded": partial(self._loaded, worker),
        }
        channel.asked = {
            "models": partial(self._tell_models, worker),
            "keys": self._tell_keys,
            "loading": partial(self._loading, worker),
            "listen": partial(self._listen, worker),
            "ready": partial(self._ready, worker),
            "leave": lambda _: worker.leave(self._others(worker)),
            "settle": self._reloads.settle,
            "reload": self._reloads.reload,
            "change": self._reloads.change,
            "metrics": self._collect,
        }
        return channel

    def _failed(self, worker: WorkerProcess, reason: str) -> None:
        if self._all_ready.is_set():
            logger.error("worker %d cannot start: %s", worker.number, reason)
        elif not self._error:
            # The settings are wrong for all workers: keep only the first error.
            self._error = reason
            self.stop()

    async def _tell_models(self, worker: WorkerProcess, _content: object) -> list[Any] | None:
        """Return the models for a worker that has just started."""
        worker.heartbeat = Heartbeat()
        return await self._reloads.tell()

    async def _tell_keys(self, _content: object) -> str | None:
        """Return the text of the keys file for a worker that has just started."""
        return None if self._keys_file is None else self._keys_file.text

    async def _loading(self, worker: WorkerProcess, _content: object) -> None:
        if worker.heartbeat is not None:
            worker.heartbeat.loading += 1

    def _loaded(self, worker: WorkerProcess, _content: object) -> None:
        if worker.heartbeat is not None:
            worker.heartbeat.loading -= 1

    async def _listen(self, worker: WorkerProcess, _content: object) -> int:
        """Note that a worker has loaded its models; when all have, listen; return its `place`."""
        worker.loaded = True
        is_first_start = not self._all_loaded.is_set()
        if self._sockets is not None and not self._stopping.is_set():
            try:
                if not is_first_start:
                    worker.listen_again(self._others(worker))
                elif all(other.loaded for other in self._workers):
                    self._sockets.listen()
                    self._all_loaded.set()
            except ConfigError as error:  # another server listens on the port
                self._failed(worker, str(error))
        await self._all_loaded.wait()
        return worker.place

    async def _ready(self, worker: WorkerProcess, _content: object) -> None:
        """Note that a worker accepts calls; when all do, answer all of them."""
        worker.ready = True
        if not self._all_ready.is_set() and all(other.ready for other in self._workers):
            logger.info("ready: %d workers", len(self._workers))
            self._all_ready.set()
        await self._all_ready.wait()

    # Tasks for all workers

    def _watches(self) -> list[Coroutine[Any, Any, None]]:
        """Return the coroutines that run until the workers have ended: heartbeat, file polls."""
        watches = []
        limit_seconds = self._config.worker_timeout_seconds
        if limit_seconds:
            watches.append(heartbeat.every(limit_seconds, self._beat))
        poll_seconds = self._config.model_config_file_poll_wait_seconds
        if self._model_config_file is not None and poll_seconds:
            watches.append(self._watch(self._model_config_file, poll_seconds))
        if self._keys_file is not None:
            poll_seconds = self._config.api_keys_file_poll_wait_seconds
            watches.append(self._keys_file.watch(self._pass_on_keys, poll_seconds))
        return watches

    def _beat(self) -> None:
        """Send pings, and kill the workers that hang; `_keep_running` replaces them."""
        for worker in self._workers:
            beats = worker.heartbeat
            if beats is not None and beats.beat(partial(worker.ask, "ping")) and not worker.hung:
                worker.hung = True
                logger.error(
                    "worker %d has not answered for %g s (--worker_timeout_seconds); ending it",
                    worker.number,
                    self._config.worker_timeout_seconds,
                )
                worker.signal(signal.SIGKILL)

    async def _watch(self, file: ModelConfigFile, poll_seconds: float) -> None:
        await self._all_ready.wait()

        async def reload(models: Mapping[str, ModelConfig]) -> None:
            await self._reloads.reload(model_config.to_json(models))

        await file.watch(reload, poll_seconds)

    async def _pass_on_keys(self, text: str) -> None:
        """Give the text of a changed keys file to all workers that run."""

        async def tell(worker: WorkerProcess) -> None:
            # A worker that is being started asks for the keys itself.
            with contextlib.suppress(ServingError, TimeoutError):
                async with asyncio.timeout(_KEYS_SECONDS):
                    await worker.ask("keys", text)

        await asyncio.gather(*(tell(worker) for worker in self._workers))

    def _file_failures(self) -> list[Metric]:
        """Return the metrics of the files that only the supervisor polls."""
        models, keys = self._model_config_file, self._keys_file
        return [
            *([config_reload_failures(file=models.failures, rpc=0)] if models else []),
            *([keys_file_failures(keys.failures)] if keys else []),
        ]

    async def _collect(self, kind: object) -> list[Any]:
        """Return the sum of all workers' metrics, as JSON.

        Args:
            kind: `STATISTICS` for `version_statistics`; None for the metrics page.
        """
        sums = self._statistics if kind == STATISTICS else self._metrics

        async def hear(worker: WorkerProcess) -> None:
            # A worker that does not answer in time contributes its last known values.
            with contextlib.suppress(ServingError, TimeoutError):
                async with asyncio.timeout(_METRICS_SECONDS):
                    metrics = await worker.ask("metrics", kind)
                sums.heard(worker.number, metrics_sum.from_json(metrics))

        # A worker that is still loading its models has counted nothing, and may be slow to answer.
        await asyncio.gather(*(hear(one) for one in self._workers if one.loaded or one.leaving))
        if kind == STATISTICS:
            return metrics_sum.to_json(sums.total())
        sums.heard(_SUPERVISOR, self._file_failures())
        workers = worker_metrics(self._workers, self._restarts)
        return metrics_sum.to_json([*sums.total(), *workers])
