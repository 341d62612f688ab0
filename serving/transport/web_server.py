"""The web server that runs the ASGI applications, and its endpoints.

docs/limits.md lists all limits of the web server and the memory that they allow.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from serving.errors import StatusCode
from serving.transport.asgi import Application, Receive, Send
from serving.transport.failures import error_response
from serving.transport.grpc_wire import status_headers
from serving.transport.limits import open_files
from serving.transport.limits.connections import ConnectionLimits, Janitor
from serving.transport.limits.traffic import TrafficTable
from serving.transport.listeners import Listeners
from serving.transport.network_config import NetworkConfig
from serving.transport.tls import Port, PortCertificates
from serving.transport.web.endpoint import Endpoint
from serving.transport.web.endpoint_server import EndpointServer

_FIRST_REQUEST_SECONDS = 10.0
# One holder may have a quarter of the connections.
_SHARE = 4

_NO_GRPC = (
    "this port answers HTTP only, because its TLS settings are not those of the gRPC port; send "
    "gRPC calls to the port of --port"
)
_NO_HTTP = (
    "this port answers gRPC only, because the REST port has its own TLS settings; send HTTP "
    "requests to the port of --rest_api_port"
)


def endpoints(
    listeners: Listeners,
    *,
    http: Application,
    grpc: Callable[[Application], Application] | None,
    certificates: PortCertificates,
) -> list[Endpoint]:
    """Return the endpoints for gRPC and REST.

    Without TLS, or with the same TLS on both ports, the ports form one endpoint: both answer gRPC
    and HTTP. Otherwise they are two endpoints, and neither may be used to avoid the TLS of the
    other: the REST port answers no gRPC, and if the REST port has TLS, the gRPC port answers no
    HTTP.

    Args:
        listeners: The sockets. Its health sockets are not used: they belong to another endpoint.
        http: Answers HTTP requests.
        grpc: Builds the application that answers gRPC calls and passes other requests to the
            application that it is given; None if another library answers gRPC.
        certificates: TLS of the ports.
    """

    def endpoint(port: Port, application: Application, *sockets: socket.socket) -> Endpoint:
        return Endpoint(
            listeners=sockets,
            application=application,
            certificates=certificates.of(port),
            port=port,
        )

    if grpc is None:
        return [endpoint("rest", http, *listeners.rest)] if listeners.rest else []
    if not listeners.rest or certificates.are_shared:
        return [endpoint("grpc", grpc(http), *listeners.rpc, *listeners.rest)]
    beside_grpc = http if certificates.rest is None else _refuse_http
    return [
        endpoint("grpc", grpc(beside_grpc), *listeners.rpc),
        endpoint("rest", _HttpAlone(http), *listeners.rest),
    ]


class _HttpAlone:
    """Passes HTTP requests on, and refuses gRPC calls with a message that names the right port."""

    def __init__(self, http: Application) -> None:
        self._http = http

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        content_type = dict(scope["headers"]).get(b"content-type", b"")
        if not content_type.startswith(b"application/grpc"):
            await self._http(scope, receive, send)
            return
        status = status_headers(StatusCode.UNIMPLEMENTED, _NO_GRPC)
        headers = [(b"content-type", b"application/grpc"), *status]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


async def _refuse_http(_scope: Mapping[str, Any], _receive: Receive, send: Send) -> None:
    """Answer an HTTP request with status 404 and a message that names the right port."""
    response = error_response(StatusCode.NOT_FOUND, _NO_HTTP)
    headers = [(b"content-type", response.content_type.encode())]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


class WebServer:
    """Serves ASGI applications on listening sockets.

    Attributes:
        failed: Set when h2corn has ended on an endpoint and could not be started again.
        reason: Why h2corn ended; empty until `failed` is set.
    """

    def __init__(self, config: NetworkConfig) -> None:
        """Create a server without endpoints; `start` adds them.

        Args:
            config: The limits, which apply to all endpoints together.
        """
        self._config = config
        self._traffic = TrafficTable()
        self._running: list[EndpointServer] = []
        self._beside: list[asyncio.Task[None]] = []
        self.failed = asyncio.Event()
        self.reason = ""

    async def start(self, endpoints: Sequence[Endpoint]) -> None:
        """Accept connections. From now on the web server owns the sockets, and `stop` closes them.

        Args:
            endpoints: The sockets, with the application and TLS for each.

        Raises:
            ConfigError: h2corn cannot start, for example because it rejects the certificates.
        """
        # A change of certificates adds a second h2corn server to an endpoint for a moment.
        servers = sum(1 if endpoint.certificates is None else 2 for endpoint in endpoints)
        most = open_files.most_connections(self._config.max_connections, servers=servers)
        for endpoint in endpoints:
            running = EndpointServer(endpoint, self._config, self._traffic, most)
            self._running.append(running)
            await running.start()
        limits = ConnectionLimits(
            most=most,
            share=max(1, most // _SHARE),
            first_request_seconds=_FIRST_REQUEST_SECONDS,
            idle_seconds=self._config.idle_connection_seconds,
            trusted=self._config.trusted_proxies,
        )
        ports = [
            listener.getsockname()[1]
            for endpoint in endpoints
            for listener in endpoint.listeners
            if listener.family in {socket.AF_INET, socket.AF_INET6}
        ]
        janitor = Janitor(limits, self._traffic, ports)
        self._beside = [
            asyncio.create_task(janitor.run()),
            *(asyncio.create_task(self._keep(running)) for running in self._running),
        ]

    async def _keep(self, running: EndpointServer) -> None:
        """Restart h2corn on an endpoint whenever it ends; set `failed` when attempts run out."""
        self.reason = await running.keep()
        self.failed.set()

    async def change_certificates(self, certificates: PortCertificates) -> None:
        """Show new connections other certificates; see `EndpointServer.change_certificates`.

        Args:
            certificates: The new certificates. An endpoint stays an endpoint: ports that share one
                must go on to share their certificates.

        Raises:
            ConfigError: h2corn rejects the certificates of an endpoint, which keeps its old ones.
        """
        for running in self._running:
            fresh = certificates.of(running.endpoint.port)
            if fresh is not None:
                await running.change_certificates(fresh)

    async def stop(self) -> None:
        """Stop accepting, and let the calls in flight finish within `drain_seconds`."""
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await asyncio.gather(*(running.stop() for running in self._running))
