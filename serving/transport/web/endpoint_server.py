"""Serves one endpoint: restarts h2corn when it ends by itself, and changes the certificate."""

import asyncio
import logging
import time
from dataclasses import replace

from serving.errors import ConfigError
from serving.transport.limits import tls_hellos
from serving.transport.limits.traffic import TrafficTable
from serving.transport.network_config import NetworkConfig
from serving.transport.tls import TlsConfig
from serving.transport.web import handover, held_handshakes
from serving.transport.web.endpoint import Endpoint
from serving.transport.web.h2corn_server import H2cornServer

logger = logging.getLogger(__name__)

# If the web server ends by itself, it is started again up to seven times in a row, each time after
# twice the delay. If it ran for longer than _MOMENT_SECONDS, the count starts again.
_RESTARTS = 7
_FIRST_DELAY_SECONDS = 0.05
_MOMENT_SECONDS = 2.0


class EndpointServer:
    """The h2corn server of an endpoint.

    Each endpoint needs its own h2corn server, because TLS is a setting of the whole server. For a
    moment there are two: h2corn reads its certificate only when it starts, so that another
    certificate needs another server on the same sockets.

    Attributes:
        endpoint: The endpoint, with the certificate that new connections see.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        config: NetworkConfig,
        traffic: TrafficTable,
        most_connections: int,
    ) -> None:
        """Create the server; `start` accepts connections.

        Args:
            endpoint: Sockets, application and TLS.
            config: Limits and drain time.
            traffic: Counts the requests of each connection.
            most_connections: Most connections of each h2corn server.
        """
        self.endpoint = endpoint
        self._config = config
        self._traffic = traffic
        self._most_connections = most_connections
        self._server: H2cornServer | None = None
        self._leaving: H2cornServer | None = None
        self._replaced = asyncio.Event()
        self._changing = asyncio.Lock()  # one start or change of certificates at a time

    async def start(self) -> None:
        """Start h2corn, which works on duplicates of the sockets.

        Raises:
            ConfigError: h2corn cannot start.
        """
        # A process that ended during a change of its certificate has left its sockets held.
        held_handshakes.release(self.endpoint.listeners)
        if self.endpoint.certificates is None:
            tls_hellos.drop(self.endpoint.listeners)
        self._server = self._new_server(self.endpoint)
        await self._server.start()

    def _new_server(self, endpoint: Endpoint) -> H2cornServer:
        return H2cornServer(endpoint, self._config, self._traffic, self._most_connections)

    async def keep(self) -> str:
        """Start h2corn again whenever it ends by itself; give up after seven times in a row.

        Returns:
            Why it ended the last time.
        """
        attempts = 0
        reason = ""
        while attempts < _RESTARTS:
            began = time.monotonic()
            server = self._server
            if server is not None:
                reason = await self._wait_ended(server) or reason
            if server is not self._server:
                continue  # another one serves since the certificate has changed
            if time.monotonic() - began > _MOMENT_SECONDS:
                attempts = 0
            delay = _FIRST_DELAY_SECONDS * 2**attempts
            attempts += 1
            logger.error(
                "the web server ended by itself: %s; its connections are closed, and it starts "
                "again in %.2f s",
                reason,
                delay,
            )
            await asyncio.sleep(delay)
            try:
                async with self._changing:
                    if server is self._server:
                        await self.start()
            except ConfigError as error:
                self._server = None
                reason = str(error)
        logger.critical("the web server ended %d times in a row: %s", attempts, reason)
        return reason

    async def _wait_ended(self, server: H2cornServer) -> str:
        """Return why a server has ended, or an empty text when another one has taken its place."""
        self._replaced.clear()
        ending = asyncio.create_task(server.wait_ended())
        replacing = asyncio.create_task(self._replaced.wait())
        try:
            await asyncio.wait({ending, replacing}, return_when=asyncio.FIRST_COMPLETED)
            return ending.result() if ending.done() else ""
        finally:
            ending.cancel()
            replacing.cancel()

    async def change_certificates(self, certificates: TlsConfig) -> None:
        """Show new connections other certificates; the calls in flight finish on the old ones.

        Nothing happens if the certificates are those of now. Returns when all new connections see
        the new ones.

        Args:
            certificates: The new certificates.

        Raises:
            ConfigError: h2corn rejects the certificates; it goes on with the old ones.
        """
        async with self._changing:
            if certificates == self.endpoint.certificates:
                return
            if self._leaving is not None:
                await self._leaving.wait_ended()  # at most two servers at a time
            endpoint = replace(self.endpoint, certificates=certificates)
            fresh = self._new_server(endpoint)
            try:
                await fresh.start()
            except asyncio.CancelledError:
                await fresh.stop()
                raise
            self.endpoint = endpoint
            self._leaving, self._server = self._server, fresh
            self._replaced.set()
            if self._leaving is not None:
                await handover.retire(self._leaving, endpoint.listeners, self._traffic)

    async def stop(self) -> None:
        """Stop accepting, and let the calls in flight finish."""
        for listener in self.endpoint.listeners:
            listener.close()
        servers = [server for server in (self._leaving, self._server) if server is not None]
        await asyncio.gather(*(server.stop() for server in servers))
