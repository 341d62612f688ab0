"""A worker process: its assignment from the supervisor, and its end of the channel.

Messages of the worker: it asks for its `models`, asks to `listen` when it has loaded them, asks to
be `ready` when it accepts calls, and reports when it is `loading` a version and has `loaded` it. It
forwards `reload` and `metrics` calls, because they concern all workers. If it cannot start, it
reports an `error`.

Messages of the supervisor: `ping`, `metrics`, and for a reload `prepare`, then `commit` or `abort`.

If the channel closes, the other process has ended.
"""

import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass

from prometheus_client import Metric

from serving.engine.catalog import Catalog
from serving.engine.managed_model import LoadServable, ManagerConfig
from serving.engine.manager import Manager
from serving.monitoring import metrics_sum
from serving.repository.model_config import ModelConfig, from_json, to_json
from serving.transport.listeners import Listeners
from serving.workers import channel
from serving.workers.channel import Channel

VARIABLE = "ONNX_SERVING_WORKER"


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Number, port and file descriptors of a worker.

    Attributes:
        number: Number of the worker, counted from 1.
        port: The gRPC port.
        rpc: File descriptors of the gRPC sockets. The supervisor makes them listen when all workers
            have loaded their models.
        rest: File descriptors of the REST sockets, which listen at the same time.
        health: File descriptors of the health sockets, which listen already.
        channel: File descriptor of the channel to the supervisor.
        replaces: Whether the worker replaces one that ended.
    """

    number: int
    port: int
    rpc: Sequence[int]
    rest: Sequence[int]
    health: Sequence[int]
    channel: int
    replaces: bool

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Assignment | None":
        """Read the assignment from environment variables; None if this process is not a worker."""
        text = environment.get(VARIABLE)
        return None if text is None else cls(**json.loads(text))

    def to_json(self) -> str:
        """Return the value of the environment variable `VARIABLE`."""
        return json.dumps(asdict(self))

    @property
    def descriptors(self) -> tuple[int, ...]:
        """File descriptors that the worker process must inherit."""
        return (*self.rpc, *self.rest, *self.health, self.channel)

    def listeners(self) -> Listeners:
        """Return the sockets of the file descriptors."""
        return Listeners(
            rpc=[socket.socket(fileno=descriptor) for descriptor in self.rpc],
            rest=[socket.socket(fileno=descriptor) for descriptor in self.rest],
            health=[socket.socket(fileno=descriptor) for descriptor in self.health],
        )


class Link:
    """The worker's end of the channel. Create it in the event loop that uses it.

    Attributes:
        listeners: The sockets to accept connections on.
        models: The models to serve by name; None: the models of the settings.
        replaces: Whether this worker replaces one that ended.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._channel = Channel()
        self.listeners = assignment.listeners()
        self.replaces = assignment.replaces
        self.models: dict[str, ModelConfig] | None = None

    async def open(self) -> None:
        """Open the channel to the supervisor, and ask for the models to serve."""
        self._channel.asked["ping"] = _pong
        # A copy, so that the descriptor is still open for `report_error` after the event loop.
        await self._channel.open(socket.socket(fileno=os.dup(self._assignment.channel)))
        models = await self._channel.ask("models")
        self.models = None if models is None else from_json(models)

    def serve(self, manager: Manager, collect: Callable[[], Sequence[Metric]]) -> None:
        """Start to answer the supervisor's requests for metrics and reloads.

        Args:
            manager: Manager of this process's models.
            collect: Returns the metrics of this process.
        """

        async def metrics(_content: object) -> object:
            return metrics_sum.to_json(collect())

        async def prepare(models: object) -> None:
            await manager.prepare(from_json(models))

        async def commit(_content: object) -> None:
            await manager.commit()

        async def abort(_content: object) -> None:
            await manager.abort()

        self._channel.asked |= {
            "metrics": metrics,
            "prepare": prepare,
            "commit": commit,
            "abort": abort,
        }

    async def wait_to_listen(self) -> None:
        """Report that the models are loaded, and wait until all workers' sockets listen."""
        await self._channel.ask("listen")

    async def wait_for_others(self) -> None:
        """Report that this worker accepts calls, and wait until all workers do."""
        await self._channel.ask("ready")

    @asynccontextmanager
    async def loading(self) -> AsyncIterator[None]:
        """Report to the supervisor that the block loads a version, which may block the event loop.

        While a version is loaded, the supervisor does not take this process for hanging.
        """
        await self._channel.ask("loading")  # wait until the supervisor has noted it
        try:
            yield
        finally:
            self._channel.tell("loaded")

    async def reload(self, models: Mapping[str, ModelConfig]) -> None:
        """Reload the models in all workers, or in none; see `Manager.reload`."""
        await self._channel.ask("reload", to_json(models))

    async def metrics(self) -> list[Metric]:
        """Return the sum of all workers' metrics."""
        return metrics_sum.from_json(await self._channel.ask("metrics"))

    async def wait_closed(self) -> None:
        """Return when the supervisor has ended."""
        await self._channel.wait_closed()


class WorkerManager(Manager):
    """The manager of one worker; it sends reloads to the supervisor, for all workers."""

    def __init__(
        self,
        find_models: Callable[[], Mapping[str, ModelConfig]],
        load: LoadServable,
        config: ManagerConfig,
        catalog: Catalog,
        link: Link,
    ) -> None:
        super().__init__(find_models, load, config, catalog)
        self._link = link

    async def reload(self, models: Mapping[str, ModelConfig]) -> None:
        """Reload the models in all workers, or in none; see `Manager.reload`."""
        await self._link.reload(models)

    def loading(self) -> AbstractAsyncContextManager[None]:
        """Return a context that reports a load to the supervisor; see `Link.loading`."""
        return self._link.loading()


async def _pong(_content: object) -> None:
    """Answer a ping; the answer shows that the event loop is not blocked."""


def report_error(assignment: Assignment, message: str) -> None:
    """Report to the supervisor why this worker cannot start; needs no event loop."""
    with socket.socket(fileno=assignment.channel) as connection:
        connection.setblocking(True)  # `Channel.open` has made the shared socket non-blocking
        connection.sendall(channel.encode({"tell": "error", "content": message}))
