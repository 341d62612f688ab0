"""A worker process: its assignment from the supervisor, and its end of the channel.

Messages of the worker: it asks for its `models` and for the callers' `keys`, asks to `listen` when
it has loaded the models, asks to be `ready` when it accepts calls, and asks to `leave` when it
drains and accepts no more connections. It reports when it is `loading` a version and has `loaded`
it. It forwards `reload`, `change` and `metrics` calls, because they concern all workers. If calls
load the models, it lets the supervisor `settle` which ones all workers begin with. If it cannot
start, it reports an `error`.

Messages of the supervisor: `ping`, `metrics`, changed `keys`, and for a reload `prepare`, then
`commit` or `abort`.

If the channel closes, the other process has ended.
"""

import asyncio
import contextlib
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
from serving.errors import ServingError
from serving.monitoring import metrics_sum
from serving.repository.model_config import ModelConfig, from_json, to_json
from serving.repository.version_folders import VersionFolders
from serving.transport.listeners import Listeners
from serving.transport.web import held_handshakes
from serving.workers import channel
from serving.workers.channel import STATISTICS, Channel
from serving.workers.environment import VARIABLE

# Handshakes that have begun end within this time on all but slow networks.
_HANDSHAKE_SECONDS = 0.05
# A web server's thread stops accepting a moment after it is told to. Clients send the first packet
# of a connection again after a second.
_STOP_ACCEPTING_SECONDS = 0.8


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Number, port and file descriptors of a worker.

    Attributes:
        number: Number of the worker, counted from 1.
        port: The gRPC port.
        accepting: File descriptors of the sockets of all workers: those for gRPC, for REST and of
            the admin listener. The supervisor makes them listen when all workers have loaded their
            models, and then says on which of them this worker accepts connections.
        health: File descriptors of the worker's own health sockets, which listen already.
        channel: File descriptor of the channel to the supervisor.
        replaces: Whether the worker replaces one that ended.
    """

    number: int
    port: int
    accepting: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int]]]
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
        return (*self._accepting, *self.health, self.channel)

    @property
    def _accepting(self) -> set[int]:
        """The file descriptors of `accepting`; workers share those of Unix sockets."""
        return {one for worker in self.accepting for sockets in worker for one in sockets}

    def health_listeners(self) -> Listeners:
        """Return the health sockets."""
        return Listeners(health=_sockets(self.health))

    def listeners(self, place: int, health: Sequence[socket.socket]) -> Listeners:
        """Return the sockets to accept connections on, and close those of other workers.

        Args:
            place: Place of the sockets in `accepting`.
            health: The health sockets, from `health_listeners`.
        """
        rpc, rest, admin = self.accepting[place]
        for descriptor in self._accepting.difference(rpc, rest, admin):
            os.close(descriptor)
        return Listeners(
            rpc=_sockets(rpc), rest=_sockets(rest), admin=_sockets(admin), health=health
        )


class Link:
    """The worker's end of the channel. Create it in the event loop that uses it.

    Attributes:
        listeners: The health sockets; `wait_to_listen` returns all sockets.
        models: The models to serve by name; None: the models of the settings.
        keys: Text of the keys file; None if there is none.
        on_keys: Called when `keys` has changed.
        replaces: Whether this worker replaces one that ended.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._channel = Channel()
        self.listeners = assignment.health_listeners()
        self.replaces = assignment.replaces
        self.models: dict[str, ModelConfig] | None = None
        self.keys: str | None = None
        self.on_keys: Callable[[str], None] = lambda _text: None
        self._accepting: list[socket.socket] = []

    async def open(self) -> None:
        """Open the channel to the supervisor, and ask for the models to serve and the keys."""
        self._channel.asked |= {"ping": _pong, "keys": self._take_keys}
        # A copy, so that the descriptor is still open for `report_error` after the event loop.
        await self._channel.open(socket.socket(fileno=os.dup(self._assignment.channel)))
        models = await self._channel.ask("models")
        self.models = None if models is None else from_json(models)
        self.keys = await self._channel.ask("keys")

    async def _take_keys(self, text: str) -> None:
        self.keys = text
        self.on_keys(text)

    def serve(
        self,
        manager: Manager,
        collect: Callable[[], Sequence[Metric]],
        collect_statistics: Callable[[], Sequence[Metric]],
    ) -> None:
        """Start to answer the supervisor's requests for metrics and reloads.

        Args:
            manager: Manager of this process's models.
            collect: Returns the metrics of this process.
            collect_statistics: Returns `version_statistics.collect` of this process.
        """

        async def metrics(kind: object) -> object:
            return metrics_sum.to_json(collect_statistics() if kind == STATISTICS else collect())

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

    async def wait_to_listen(self) -> Listeners:
        """Report that the models are loaded, and wait until all workers' sockets listen.

        Returns:
            The sockets to accept connections on, and the health sockets.
        """
        place = await self._channel.ask("listen")
        taken = self._assignment.listeners(place, self.listeners.health)
        self._accepting = [*taken.rpc, *taken.rest, *taken.admin]
        return taken

    async def wait_for_others(self) -> None:
        """Report that this worker accepts calls, and wait until all workers do."""
        await self._channel.ask("ready")

    async def turn_away(self) -> None:
        """Let connections that clients begin from now on wait; accept those that have begun.

        The clients try again after a second, when `leave` has left them to other workers.
        """
        held_handshakes.turn_away(self._accepting)
        await asyncio.sleep(_HANDSHAKE_SECONDS)

    async def leave(self) -> None:
        """Leave new connections to other workers; the web servers have been told to stop.

        Before, the web servers must have stopped accepting: one that accepts on a socket which does
        not listen any more ends with an error, and closes its connections. If the supervisor has
        ended, nothing happens.
        """
        await asyncio.sleep(_STOP_ACCEPTING_SECONDS)
        with contextlib.suppress(ServingError):
            await self._channel.ask("leave")

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

    async def change(self, changes: Mapping[str, ModelConfig | None]) -> None:
        """Change a few models in all workers, or in none; see `Manager.change`."""
        models = {name: config for name, config in changes.items() if config is not None}
        without = [name for name in changes if name not in models]
        await self._channel.ask("change", {"models": to_json(models), "without": without})

    async def settle(self, models: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
        """Return the models that all workers begin with, for which this worker proposes `models`.

        They are the proposal of the first worker, so that all of them load the same versions.
        """
        return from_json(await self._channel.ask("settle", to_json(models)))

    async def metrics(self) -> list[Metric]:
        """Return the sum of all workers' metrics."""
        return metrics_sum.from_json(await self._channel.ask("metrics"))

    async def statistics(self) -> list[Metric]:
        """Return the sum of all workers' `version_statistics.collect`."""
        return metrics_sum.from_json(await self._channel.ask("metrics", STATISTICS))

    async def wait_closed(self) -> None:
        """Return when the supervisor has ended."""
        await self._channel.wait_closed()


class WorkerManager(Manager):
    """The manager of one worker; it sends reloads to the supervisor, for all workers."""

    def __init__(  # noqa: PLR0917 - as its base class, and the link
        self,
        find_models: Callable[[], Mapping[str, ModelConfig]],
        load: LoadServable,
        config: ManagerConfig,
        catalog: Catalog,
        link: Link,
        version_folders: VersionFolders | None = None,
    ) -> None:
        super().__init__(find_models, load, config, catalog, version_folders)
        self._link = link

    async def reload(self, models: Mapping[str, ModelConfig]) -> None:
        """Reload the models in all workers, or in none; see `Manager.reload`."""
        await self._link.reload(models)

    async def change(self, changes: Mapping[str, ModelConfig | None]) -> None:
        """Change a few models in all workers, or in none; see `Manager.change`."""
        await self._link.change(changes)

    def loading(self) -> AbstractAsyncContextManager[None]:
        """Return a context that reports a load to the supervisor; see `Link.loading`."""
        return self._link.loading()


def _sockets(descriptors: Sequence[int]) -> list[socket.socket]:
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]


async def _pong(_content: object) -> None:
    """Answer a ping; the answer shows that the event loop is not blocked."""


def report_error(assignment: Assignment, message: str) -> None:
    """Report to the supervisor why this worker cannot start; needs no event loop."""
    with socket.socket(fileno=assignment.channel) as connection:
        connection.setblocking(True)  # `Channel.open` has made the shared socket non-blocking
        connection.sendall(channel.encode({"tell": "error", "content": message}))
