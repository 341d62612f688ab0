"""The supervisor: several worker processes behind the same ports.

Each worker has a listening socket of its own on the one port, and the kernel spreads connections
over them by a hash of the addresses. One shared socket would be simpler, but the worker that wakes
up first takes all the connections that wait, and clients of gRPC keep theirs for hours. The
supervisor holds every socket open too: while a worker that died is replaced, its connections wait.

A worker runs the whole server with its share of the cores. The sockets listen once all workers have
loaded their models, the server is ready once all of them accept, and a worker that ends by itself
is started again, at a bounded rate. One that does not answer any more is ended and so replaced,
too.

What concerns all workers passes through here: another set of models, which all of them take over or
none, and the metrics, which are the sum of theirs.
"""

import asyncio
import contextlib
import dataclasses
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

from serving.errors import ConfigError, ServingError, Unavailable
from serving.monitoring import metrics_sum
from serving.monitoring.metrics_page import config_reload_failures
from serving.monitoring.metrics_sum import MetricsSum
from serving.repository import model_config
from serving.repository.model_config import ModelConfig
from serving.settings.config import ServerConfig
from serving.settings.models_file import ModelConfigFile
from serving.transport.listeners import Listeners
from serving.workers import heartbeat
from serving.workers.channel import Channel
from serving.workers.heartbeat import Heartbeat
from serving.workers.worker import VARIABLE, Assignment
from serving.workers.worker_sockets import WorkerSockets

logger = logging.getLogger(__name__)

_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 30.0
# A worker that lived so long did not die of how it started.
_HEALTHY_SECONDS = 60.0
# Prometheus waits for ten seconds if it is not told otherwise.
_METRICS_SECONDS = 5.0
# The number of this process among those whose metrics are added up; workers count from 1.
_SUPERVISOR = 0


@dataclasses.dataclass
class _Worker:
    """One place among the workers, whichever process fills it."""

    number: int
    sockets: Listeners
    process: asyncio.subprocess.Process | None = None
    channel: Channel | None = None
    heartbeat: Heartbeat | None = None
    loaded: bool = False
    ready: bool = False
    hung: bool = False
    quick_deaths: int = 0

    async def ask(self, what: str, content: object = None) -> Any:  # noqa: ANN401 - any JSON
        """Ask the process for something; see `Channel.ask`."""
        if self.channel is None:
            msg = f"worker {self.number} is being started; retry"
            raise Unavailable(msg)
        return await self.channel.ask(what, content)

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
        self._sockets: WorkerSockets | None = None
        self._stopping = asyncio.Event()
        self._all_loaded = asyncio.Event()
        self._all_ready = asyncio.Event()
        self._model_config_file: ModelConfigFile | None = None
        self._models: list[Any] | None = None  # None: those that the settings name
        self._reloading = asyncio.Lock()
        self._metrics = MetricsSum()
        self._restarts = 0
        self._error = ""
        self._codes: list[int] = []
        self.port = 0

    async def run(self) -> int:
        """Serve until `stop`.

        Returns:
            0 if every worker drained and ended as it should, else 1.

        Raises:
            ConfigError: an address cannot be had, the list of models cannot be understood, or the
                workers cannot start with these settings.
        """
        if self._config.model_config_file is not None:
            self._model_config_file = ModelConfigFile(
                self._config.model_config_file, retry_seconds=self._config.manager().retry_seconds
            )
            self._models = model_config.to_json(self._model_config_file.models)
        sockets = self._sockets = WorkerSockets.open(self._config)
        self.port = sockets.port
        self._workers += [_Worker(number, own) for number, own in enumerate(sockets.of_workers, 1)]
        logger.info(
            "took %s:%d, starting %d workers; callers are refused until their models are loaded",
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
            for worker in self._workers:
                worker.signal(signal.SIGKILL)
            sockets.close()
            sockets.remove_socket_path()
        if self._error:
            raise ConfigError(self._error)
        # A worker that was still starting knows no other way to end on SIGTERM.
        return int(any(code not in {0, -signal.SIGTERM} for code in self._codes))

    def stop(self) -> None:
        """Take no more connections and let every worker drain and end."""
        self._stopping.set()
        if self._sockets is not None:
            self._sockets.close()
        for worker in self._workers:
            worker.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all of it at once."""
        for worker in self._workers:
            worker.signal(signal.SIGKILL)

    # Processes

    async def _keep_running(self, worker: _Worker) -> None:
        while not self._stopping.is_set():
            started = time.monotonic()
            code = await self._run(worker)
            if self._stopping.is_set():
                self._codes.append(code)
                return
            self._restarts += 1
            lived = time.monotonic() - started
            worker.quick_deaths = 0 if lived > _HEALTHY_SECONDS else worker.quick_deaths + 1
            delay = min(
                _FIRST_DELAY_SECONDS * 2 ** min(worker.quick_deaths, 20), _LONGEST_DELAY_SECONDS
            )
            logger.error(
                "worker %d ended %s (exit code %d); starting it again in %.1f s",
                worker.number,
                "because it was hanging" if worker.hung else "by itself",
                code,
                delay,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _run(self, worker: _Worker) -> int:
        """Start a process and wait for its end; gives its exit code."""
        own_end, end_of_worker = socket.socketpair()
        assignment = Assignment(
            number=worker.number,
            port=self.port,
            rpc=[listener.fileno() for listener in worker.sockets.rpc],
            rest=[listener.fileno() for listener in worker.sockets.rest],
            health=[listener.fileno() for listener in worker.sockets.health],
            channel=end_of_worker.fileno(),
            replaces=self._all_ready.is_set(),
        )
        with end_of_worker:
            worker.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "serving", *self._arguments),
                pass_fds=assignment.descriptors,
                env=os.environ | {VARIABLE: assignment.to_json()},
                # Ctrl-C in a terminal reaches the supervisor alone, which tells the workers.
                start_new_session=True,
            )
        if self._stopping.is_set():
            worker.signal(signal.SIGTERM)
        worker.hung = False
        channel = worker.channel = self._channel_of(worker)
        await channel.open(own_end)
        try:
            code = await worker.process.wait()
            await channel.wait_closed()
        finally:
            worker.loaded = worker.ready = False
            worker.channel = None
            if worker.heartbeat is not None:
                worker.heartbeat.stop()
                worker.heartbeat = None
            channel.close()
            self._metrics.ended(worker.number)
        return code

    # What workers say and ask

    def _channel_of(self, worker: _Worker) -> Channel:
        channel = Channel()
        channel.told = {
            "error": partial(self._failed, worker),
            "loaded": partial(self._loaded, worker),
        }
        channel.asked = {
            "models": partial(self._tell_models, worker),
            "loading": partial(self._loading, worker),
            "listen": partial(self._listen, worker),
            "ready": partial(self._ready, worker),
            "reload": self._reload,
            "metrics": self._collect,
        }
        return channel

    def _failed(self, worker: _Worker, reason: str) -> None:
        if self._all_ready.is_set():
            logger.error("worker %d cannot start: %s", worker.number, reason)
        elif not self._error:
            # The settings are wrong for all of them: say so once.
            self._error = reason
            self.stop()

    async def _tell_models(self, worker: _Worker, _content: object) -> list[Any] | None:
        """What a worker that has just started is to serve."""
        worker.heartbeat = Heartbeat()
        # Not while the others take over another set: it would be the one set or the other.
        async with self._reloading:
            return self._models

    async def _loading(self, worker: _Worker, _content: object) -> None:
        if worker.heartbeat is not None:
            worker.heartbeat.loading += 1

    def _loaded(self, worker: _Worker, _content: object) -> None:
        if worker.heartbeat is not None:
            worker.heartbeat.loading -= 1

    async def _listen(self, worker: _Worker, _content: object) -> None:
        """Let a worker accept calls, once all of them have their models: all begin at once."""
        worker.loaded = True
        is_last = not self._all_loaded.is_set() and all(other.loaded for other in self._workers)
        if is_last and self._sockets is not None and not self._stopping.is_set():
            try:
                self._sockets.listen()
            except ConfigError as error:  # another server was faster
                self._failed(worker, str(error))
            else:
                self._all_loaded.set()
        await self._all_loaded.wait()

    async def _ready(self, worker: _Worker, _content: object) -> None:
        """Let a worker call itself ready, once all of them are."""
        worker.ready = True
        if not self._all_ready.is_set() and all(other.ready for other in self._workers):
            logger.info("ready: %d workers", len(self._workers))
            self._all_ready.set()
        await self._all_ready.wait()

    # What concerns all workers

    def _watches(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on beside the workers, until the end."""
        watches = []
        limit_seconds = self._config.worker_timeout_seconds
        if limit_seconds:
            watches.append(heartbeat.every(limit_seconds, self._beat))
        poll_seconds = self._config.model_config_file_poll_wait_seconds
        if self._model_config_file is not None and poll_seconds:
            watches.append(self._watch(self._model_config_file, poll_seconds))
        return watches

    def _beat(self) -> None:
        """End the workers that hang; others take their places."""
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
            await self._reload(model_config.to_json(models))

        await file.watch(reload, poll_seconds)

    async def _reload(self, models: list[Any]) -> None:
        """Have all workers serve another set of models, or none.

        Raises:
            Unavailable: a worker is not ready.
            ServingError: what a worker says against the set.
        """
        async with self._reloading:
            for worker in self._workers:
                if not worker.ready:
                    msg = f"worker {worker.number} is being started; retry when it is ready"
                    raise Unavailable(msg)
            outcomes = await asyncio.gather(
                *(worker.ask("prepare", models) for worker in self._workers),
                return_exceptions=True,
            )
            errors = [error for error in outcomes if isinstance(error, BaseException)]
            verdict = "abort" if errors else "commit"
            if not errors:
                self._models = models  # also for a worker that ends now and starts again
            await asyncio.gather(
                *(
                    self._conclude(worker, verdict)
                    for worker, outcome in zip(self._workers, outcomes, strict=True)
                    if not isinstance(outcome, BaseException)
                )
            )
            if errors:
                raise errors[0]

    async def _conclude(self, worker: _Worker, verdict: str) -> None:
        """Tell a worker what became of the set that it has prepared."""
        try:
            await worker.ask(verdict)
        except ServingError as error:
            # Whatever it serves now: the one that takes its place serves the right models.
            logger.error("worker %d could not %s: %s", worker.number, verdict, error.message)  # noqa: TRY400
            worker.signal(signal.SIGKILL)

    async def _collect(self, _content: object) -> list[Any]:
        """The metrics of all workers, summed up."""

        async def hear(worker: _Worker) -> None:
            # One that does not answer in time counts as it did last.
            with contextlib.suppress(ServingError, TimeoutError):
                async with asyncio.timeout(_METRICS_SECONDS):
                    metrics = await worker.ask("metrics")
                self._metrics.heard(worker.number, metrics_sum.from_json(metrics))

        await asyncio.gather(*(hear(worker) for worker in self._workers))
        if self._model_config_file is not None:  # the workers' own pages count 0 looks at it
            looks = config_reload_failures(file=self._model_config_file.failures, rpc=0)
            self._metrics.heard(_SUPERVISOR, [looks])
        ready = sum(worker.ready for worker in self._workers)
        return metrics_sum.to_json(
            [*self._metrics.total(), *_worker_metrics(ready, self._restarts)]
        )


def _worker_metrics(ready: int, restarts: int) -> list[Metric]:
    workers = Metric("onnx_serving_workers_ready", "Worker processes that answer.", "gauge")
    workers.add_sample(workers.name, {}, ready)
    again = Metric(
        "onnx_serving_worker_restarts_total", "Worker processes that were started again.", "counter"
    )
    again.add_sample(again.name, {}, restarts)
    return [workers, again]
