"""A worker of the supervisor, with the process that runs it now."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client import Metric

from serving.errors import Unavailable
from serving.monitoring import metric_table
from serving.transport.listeners import Listeners
from serving.transport.web import held_handshakes
from serving.workers import waiting_connections
from serving.workers.channel import Channel
from serving.workers.heartbeat import Heartbeat
from serving.workers.worker import Assignment

_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 30.0
# If a worker has run for longer than this, its end does not count as a failed start.
_HEALTHY_SECONDS = 60.0


@dataclass
class WorkerProcess:
    """One of the workers, with the process that runs it now; a restart replaces the process.

    Attributes:
        of_workers: The sockets of all workers.
        place: The place among these of the sockets that the worker accepts connections on. Two
            workers exchange theirs if connections wait for one and the other can answer them.
        holds_connections: Whether connections wait on these sockets, because no worker is left.
        leaving: Whether the process drains: it still answers, but accepts no more connections.
    """

    number: int
    of_workers: Sequence[Listeners]
    process: asyncio.subprocess.Process | None = None
    channel: Channel | None = None
    heartbeat: Heartbeat | None = None
    loaded: bool = False
    ready: bool = False
    hung: bool = False
    quick_deaths: int = 0
    holds_connections: bool = False
    leaving: bool = False
    place: int = field(init=False)

    def __post_init__(self) -> None:
        self.place = self.number - 1

    @property
    def sockets(self) -> Listeners:
        """The sockets that the worker accepts connections on, with its own health sockets."""
        health = self.of_workers[self.number - 1].health
        return replace(self.of_workers[self.place], health=health)

    def assignment(self, port: int, channel: socket.socket, *, replaces: bool) -> Assignment:
        """Return the assignment for a process of this worker; see `Assignment`."""
        return Assignment(
            number=self.number,
            port=port,
            accepting=[
                (_descriptors(one.rpc), _descriptors(one.rest), _descriptors(one.admin))
                for one in self.of_workers
            ],
            health=_descriptors(self.sockets.health),
            channel=channel.fileno(),
            replaces=replaces,
        )

    def restart_delay(self, lived_seconds: float) -> float:
        """Count the end of the process; return the time until the next one starts, in seconds.

        The delay doubles with each process that ended early.

        Args:
            lived_seconds: The time for which the process has run.
        """
        self.quick_deaths = 0 if lived_seconds > _HEALTHY_SECONDS else self.quick_deaths + 1
        return min(_FIRST_DELAY_SECONDS * 2.0 ** min(self.quick_deaths, 20), _LONGEST_DELAY_SECONDS)

    async def ask(self, what: str, content: object = None) -> Any:  # noqa: ANN401 - any JSON
        """Send a request to the process and wait for the answer; see `Channel.ask`.

        Raises:
            Unavailable: the process is being started, or has ended.
            ServingError: see `Channel.ask`.
        """
        if self.channel is None:
            msg = f"worker {self.number} is being started; retry"
            raise Unavailable(msg)
        return await self.channel.ask(what, content)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it is running."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def leave(self, others: Sequence["WorkerProcess"]) -> None:
        """Let the kernel give no more connections to this worker, which drains and accepts none."""
        self.leaving = True
        self.stop_listening(others, health=False)

    def stop_listening(self, others: Sequence["WorkerProcess"], *, health: bool = True) -> None:
        """Let the kernel give no more connections to this worker, which has ended or drains.

        Connections that wait already are sent to the other workers. If none of these accepts
        connections, all wait for the replacement instead.

        Args:
            others: The other workers.
            health: Whether to stop on the health port, too.
        """
        sockets = self.sockets
        if any(other.loaded for other in others):
            waiting_connections.send_away([*sockets.rpc, *sockets.rest])
            sockets.stop_listening(health=health)
        elif self.loaded:
            self.holds_connections = True
        # Whoever listens on them next must not turn connections away as the worker did.
        held_handshakes.release([*sockets.rpc, *sockets.rest, *sockets.admin])
        self.loaded = False

    def listen_again(self, others: Sequence["WorkerProcess"]) -> None:
        """Let the kernel give connections to this worker, which has loaded its models.

        It takes over the sockets of the worker that ended last, if connections wait there. Only on
        the health port they are reset, so that their clients come to this worker.

        Raises:
            ConfigError: another server listens on one of the ports by now.
        """
        for other in others:
            if other.holds_connections and not other.loaded:
                self.place, other.place = other.place, self.place
                other.holds_connections = False
        self.holds_connections = False
        self.sockets.listen_again()
        for other in others:
            if not other.loaded:
                # A process that loads models already answers on its health port.
                other.sockets.stop_listening(health=other.channel is None)


def _descriptors(sockets: Sequence[socket.socket]) -> list[int]:
    return [one.fileno() for one in sockets]


def worker_metrics(workers: Sequence[WorkerProcess], restarts: int) -> list[Metric]:
    """Return the metrics of all workers: their number, how many are ready, and the restarts."""
    wanted = metric_table.WORKERS.metric()
    wanted.add_sample(wanted.name, {}, len(workers))
    ready = metric_table.WORKERS_READY.metric()
    ready.add_sample(ready.name, {}, sum(worker.ready for worker in workers))
    again = metric_table.WORKER_RESTARTS.metric()
    again.add_sample(again.name, {}, restarts)
    return [wanted, ready, again]
