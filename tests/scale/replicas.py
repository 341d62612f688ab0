"""Replicas of the server on fixed ports, which can be ended and started again."""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from running import servers
from scale.balancers import Ports, free_ports


class Replica:
    """A server on fixed ports.

    Attributes:
        ports: Its port for gRPC and REST, and its health port.
    """

    def __init__(self, ports: Ports, flags: Sequence[str], cores: Sequence[int] = ()) -> None:
        """Describe a server that is not started yet.

        Args:
            ports: Its ports.
            flags: Its other flags.
            cores: The cores that it may use; none: all.
        """
        self.ports = ports
        self._cores = cores
        self._flags = (*flags, f"--port={ports[0]}", f"--health_port={ports[1]}")
        self._running = contextlib.ExitStack()
        self._server: servers.ServerProcess | None = None

    def start(self) -> None:
        """Start it, and return when it is ready."""
        with _on_cores(self._cores):
            self._server = self._running.enter_context(servers.as_process(*self._flags))
        self._server.wait_for(r"ready: \w")

    @property
    def address(self) -> str:
        """`host:port` of its gRPC port."""
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._server is not None
        return self._server.process.pid

    def stop(self, by: signal.Signals) -> int:
        """End it by a signal; return its exit code."""
        assert self._server is not None
        self._server.process.send_signal(by)
        code = self._server.process.wait(servers.STOP_SECONDS)
        self.close()
        return code

    def restart(self, by: signal.Signals) -> int:
        """End it by a signal and start it again when it has ended; return its exit code."""
        code = self.stop(by)
        self.start()
        return code

    def close(self) -> None:
        """End it at once."""
        self._running.close()


@contextmanager
def two_replicas(models_dir: Path, *flags: str) -> Iterator[list[Replica]]:
    """Start two replicas; yield them when they are ready."""
    with replicas(models_dir, [(), ()], *flags) as pair:
        yield pair


@contextmanager
def replicas(
    models_dir: Path | None, cores: Sequence[Sequence[int]], *flags: str
) -> Iterator[list[Replica]]:
    """Start a replica on each group of cores (an empty group: all); yield them when ready.

    Args:
        models_dir: The models; None: a flag names them.
        cores: The cores of each replica.
        flags: Flags of all replicas.
    """
    ports = free_ports(2 * len(cores))
    models = [f"--models_dir={models_dir}"] if models_dir else []
    flags = (*models, "--trusted_proxies=127.0.0.1", *flags)
    started = [
        Replica((grpc_port, health_port), flags, allowed)
        for grpc_port, health_port, allowed in zip(ports[::2], ports[1::2], cores, strict=True)
    ]
    try:
        for replica in started:
            replica.start()
        yield started
    finally:
        for replica in started:
            replica.close()


@contextmanager
def _on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Let the processes that this thread starts in the block use these cores only."""
    before = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
