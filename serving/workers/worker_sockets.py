"""The sockets of all workers: the supervisor binds them, and makes them listen at the same time.

Each worker has its own sockets on the same ports; `supervisor` gives the reason.
"""

import contextlib
import dataclasses
from collections.abc import Sequence

from serving.settings.config import ServerConfig
from serving.transport import listeners
from serving.transport.listeners import Listeners
from serving.transport.network_config import admin_address


@dataclasses.dataclass(frozen=True)
class WorkerSockets:
    """The sockets that the supervisor keeps open, even if a worker ends.

    Attributes:
        port: The gRPC port.
        of_workers: The sockets of each worker.
        reserved: Holds a socket that reserves the port for grpcio, which opens its own sockets.
    """

    port: int
    of_workers: Sequence[Listeners]
    reserved: contextlib.ExitStack

    @classmethod
    def open(cls, config: ServerConfig) -> "WorkerSockets":
        """Bind the ports. The health sockets listen immediately, the others after `listen`.

        Raises:
            ConfigError: an address cannot be bound.
        """
        reserved = contextlib.ExitStack()
        # The workers' sockets share a port, and would share it with another server too. Binding it
        # exclusively first shows that no other server has it.
        with listeners.claim(config.host.strip("[]"), config.port) as probe:
            port = int(probe.getsockname()[1])
        if config.rest_api_port:
            listeners.claim(config.host, config.rest_api_port, flag="--rest_api_port").close()
        if config.health_port is not None:
            flag = "--health_port"
            with listeners.claim(config.host, config.health_port, flag=flag) as probe:
                config = dataclasses.replace(config, health_port=int(probe.getsockname()[1]))
        config = _with_admin_port(config)
        by_grpcio = config.front == "grpcio"
        if by_grpcio:
            # grpcio opens its own sockets; this socket reserves the port for them.
            host = config.host.strip("[]")
            reserved.enter_context(listeners.claim(host, port, shared=True))
        config = dataclasses.replace(config, port=port)
        first = Listeners.open(config.network(), rpc=not by_grpcio, shared=True)
        of_workers = [first]
        # A Unix socket cannot be bound twice: all workers accept on that of the first worker.
        config = dataclasses.replace(config, grpc_socket_path=None)
        if first.admin_socket_path is not None:
            config = dataclasses.replace(config, admin_address="")
        for _ in range(1, config.workers):
            sockets = Listeners.open(config.network(), rpc=not by_grpcio, shared=True)
            rpc = [*sockets.rpc, *first.rpc[1:]]
            admin = sockets.admin or first.admin
            of_workers.append(dataclasses.replace(sockets, rpc=rpc, admin=admin))
        return cls(port, of_workers, reserved)

    def listen(self) -> None:
        """Make the sockets of all workers listen.

        They listen at the same time, because a worker that listens first would get all connections.

        Raises:
            ConfigError: another server listens on the port by now.
        """
        for sockets in self.of_workers:
            sockets.listen()

    def close(self) -> None:
        """Close all sockets."""
        for sockets in self.of_workers:
            sockets.close()
        self.reserved.close()

    def remove_socket_path(self) -> None:
        """Remove the Unix socket's path; call this when no worker accepts on it any more."""
        self.of_workers[0].remove_socket_path()


def _with_admin_port(config: ServerConfig) -> ServerConfig:
    """Return the settings with the port of the admin listener, if port 0 asks for a free one.

    Raises:
        ConfigError: the port cannot be bound.
    """
    address = admin_address(config.admin_address)
    if address is None or address.path is not None:
        return config
    with listeners.claim(address.host, address.port, flag="--admin_address") as probe:
        address = dataclasses.replace(address, port=int(probe.getsockname()[1]))
    return dataclasses.replace(config, admin_address=str(address))
