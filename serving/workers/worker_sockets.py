"""The sockets of all workers: taken by the supervisor, and opened to callers at one moment.

Each worker has sockets of its own on the same ports, see `supervisor`.
"""

import contextlib
import dataclasses
from collections.abc import Sequence

from serving.settings.config import ServerConfig
from serving.transport import listeners
from serving.transport.listeners import Listeners


@dataclasses.dataclass(frozen=True)
class WorkerSockets:
    """What the supervisor holds open, whichever worker dies.

    Attributes:
        port: The gRPC port.
        of_workers: The sockets of each worker.
        reserved: What keeps the port for a library that opens its own sockets.
    """

    port: int
    of_workers: Sequence[Listeners]
    reserved: contextlib.ExitStack

    @classmethod
    def open(cls, config: ServerConfig) -> "WorkerSockets":
        """Take the ports; callers are refused until `listen`, except by those for health.

        Raises:
            ConfigError: an address cannot be had.
        """
        reserved = contextlib.ExitStack()
        # A port that another server has could be shared with it, which nobody wants: ask for it
        # alone first.
        with listeners.claim(config.host.strip("[]"), config.port) as probe:
            port = int(probe.getsockname()[1])
        if config.rest_api_port:
            listeners.claim(config.host, config.rest_api_port, flag="--rest_api_port").close()
        if config.health_port is not None:
            flag = "--health_port"
            with listeners.claim(config.host, config.health_port, flag=flag) as probe:
                config = dataclasses.replace(config, health_port=int(probe.getsockname()[1]))
        by_grpcio = config.front == "grpcio"
        if by_grpcio:
            # grpcio opens its own sockets; this one keeps the port for them.
            host = config.host.strip("[]")
            reserved.enter_context(listeners.claim(host, port, shared=True))
        config = dataclasses.replace(config, port=port)
        first = Listeners.open(config.network(), rpc=not by_grpcio, shared=True)
        of_workers = [first]
        # A Unix socket cannot be opened twice: all workers accept on the first one's.
        config = dataclasses.replace(config, grpc_socket_path=None)
        for _ in range(1, config.workers):
            sockets = Listeners.open(config.network(), rpc=not by_grpcio, shared=True)
            rpc = [*sockets.rpc, *first.rpc[1:]]
            of_workers.append(dataclasses.replace(sockets, rpc=rpc))
        return cls(port, of_workers, reserved)

    def listen(self) -> None:
        """Let callers connect, to all workers at once: who listens first would get them all.

        Raises:
            ConfigError: another server listens there by now.
        """
        for sockets in self.of_workers:
            sockets.listen()

    def close(self) -> None:
        """Listen no more."""
        for sockets in self.of_workers:
            sockets.close()
        self.reserved.close()

    def remove_socket_path(self) -> None:
        """Remove the Unix socket from the file system, once nobody accepts on it."""
        self.of_workers[0].remove_socket_path()
