"""Two replicas of the server on fixed ports, which can be ended and started again."""

import contextlib
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

    def __init__(self, ports: Ports, flags: Sequence[str]) -> None:
        self.ports = ports
        self._flags = (*flags, f"--port={ports[0]}", f"--health_port={ports[1]}")
        self._running = contextlib.ExitStack()
        self._server: servers.ServerProcess | None = None

    def start(self) -> None:
        """Start it, and return when it is ready."""
        self._server = self._running.enter_context(servers.as_process(*self._flags))
        self._server.wait_for(r"ready: \w")

    def restart(self, by: signal.Signals) -> int:
        """End it by a signal and start it again when it has ended; return its exit code."""
        assert self._server is not None
        self._server.process.send_signal(by)
        code = self._server.process.wait(servers.STOP_SECONDS)
        self.close()
        self.start()
        return code

    def close(self) -> None:
        """End it at once."""
        self._running.close()


@contextmanager
def two_replicas(models_dir: Path, *flags: str) -> Iterator[list[Replica]]:
    """Start two replicas; yield them when they are ready."""
    ports = free_ports(4)
    flags = (f"--models_dir={models_dir}", "--trusted_proxies=127.0.0.1", *flags)
    pair = [Replica((ports[0], ports[1]), flags), Replica((ports[2], ports[3]), flags)]
    try:
        for replica in pair:
            replica.start()
        yield pair
    finally:
        for replica in pair:
            replica.close()
