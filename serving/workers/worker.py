"""A worker process: what its supervisor gives it, and what the two tell each other.

The worker asks for the models to serve, asks to `listen` when it has loaded them, says when it is
`ready` and when it loads something, and hands reloads and scrapes on, because those concern all
workers. The supervisor asks whether the
worker is alive, for its metrics, and to `prepare` and `commit` another set of models. When their
channel closes, the other one is gone.
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
    """What a worker is to do; numbers are file descriptors if nothing else is said.

    Attributes:
        number: Of the worker, counted from 1.
        port: The gRPC port.
        rpc: Sockets for gRPC; the supervisor has them listen when all workers have their models.
        rest: Sockets for REST; likewise.
        health: Sockets that listen for health alone.
        channel: To the supervisor.
        replaces: Whether it takes the place of one that ended.
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
        """The assignment of this process; None if it is no worker."""
        text = environment.get(VARIABLE)
        return None if text is None else cls(**json.loads(text))

    def to_json(self) -> str:
        """The value of the environment variable."""
        return json.dumps(asdict(self))

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All that the process must inherit."""
        return (*self.rpc, *self.rest, *self.health, self.channel)

    def listeners(self) -> Listeners:
        """The sockets."""
        return Listeners(
            rpc=[socket.socket(fileno=descriptor) for descriptor in self.rpc],
            rest=[socket.socket(fileno=descriptor) for descriptor in self.rest],
            health=[socket.socket(fileno=descriptor) for descriptor in self.health],
        )


class Link:
    """The worker's end of the channel. To be made in the event loop that uses it.

    Attributes:
        listeners: The sockets to accept on.
        models: The models to serve; None for those that the settings name.
        replaces: Whether this worker takes the place of one that ended.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._channel = Channel()
        self.listeners = assignment.listeners()
        self.replaces = assignment.replaces
        self.models: dict[str, ModelConfig] | None = None

    async def open(self) -> None:
        """Begin to listen to the supervisor, and ask it what to serve."""
        self._channel.asked["ping"] = _pong
        # A copy, so that `report_error` finds the descriptor open when the event loop has ended.
        await self._channel.open(socket.socket(fileno=os.dup(self._assignment.channel)))
        models = await self._channel.ask("models")
        self.models = None if models is None else from_json(models)

    def serve(self, manager: Manager, collect: Callable[[], Sequence[Metric]]) -> None:
        """Answer for this process.

        Args:
            manager: Its models.
            collect: Its metrics.
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
        """Say that the models are loaded, and wait until all workers' are: then sockets listen."""
        await self._channel.ask("listen")

    async def wait_for_others(self) -> None:
        """Say that this worker accepts calls, and wait until the other workers do."""
        await self._channel.ask("ready")

    @asynccontextmanager
    async def loading(self) -> AsyncIterator[None]:
        """While something is loaded: ONNX Runtime then keeps the event loop from running."""
        await self._channel.ask("loading")  # the answer says that the supervisor knows
        try:
            yield
        finally:
            self._channel.tell("loaded")

    async def reload(self, models: Mapping[str, ModelConfig]) -> None:
        """Have all workers serve another set of models, or none; see `Manager.reload`."""
        await self._channel.ask("reload", to_json(models))

    async def metrics(self) -> list[Metric]:
        """The metrics of all workers, summed up."""
        return metrics_sum.from_json(await self._channel.ask("metrics"))

    async def wait_closed(self) -> None:
        """Return when the supervisor is gone."""
        await self._channel.wait_closed()


class WorkerManager(Manager):
    """The models of one worker; what concerns the other workers goes through the supervisor."""

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
        """Have all workers serve another set of models, or none; see `Manager.reload`."""
        await self._link.reload(models)

    def loading(self) -> AbstractAsyncContextManager[None]:
        """Tell the supervisor that this process may seem to hang; see `Link.loading`."""
        return self._link.loading()


async def _pong(_content: object) -> None:
    """Whoever gets here has an event loop that runs."""


def report_error(assignment: Assignment, message: str) -> None:
    """Say why this worker cannot start."""
    with socket.socket(fileno=assignment.channel) as connection:
        connection.setblocking(True)  # its copy in the event loop was not
        connection.sendall(channel.encode({"tell": "error", "content": message}))
