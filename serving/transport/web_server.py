"""The web server that runs the ASGI applications (h2corn, HTTP/2 in Rust), and its endpoints.

Only this module uses h2corn; any ASGI server with HTTP/2 trailers could replace it. docs/limits.md
lists all limits of the web server and the memory that they allow.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# By default, h2corn's allocator, mimalloc, returns memory to the system only while it is in use:
# after a flood of requests, its memory would stay allocated until the next flood.
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")

import h2corn
import h2corn._lib

from serving.errors import ConfigError, StatusCode
from serving.transport import tls
from serving.transport.admission import Admission
from serving.transport.asgi import Application, Receive, Send
from serving.transport.failures import error_response
from serving.transport.grpc_wire import status_headers
from serving.transport.limits import open_files
from serving.transport.limits.connections import ConnectionLimits, Janitor
from serving.transport.limits.traffic import TrafficTable
from serving.transport.listeners import Listeners
from serving.transport.network_config import NetworkConfig

logger = logging.getLogger(__name__)

# h2corn writes its name and address to standard error whenever a server starts, and no setting
# stops it. The lines have no time stamp, and their JSON is not that of this server's log.
h2corn._lib.emit_banner = lambda *_: None  # noqa: SLF001

# h2corn's limit on a body exceeds --max_message_bytes by this margin, for the framing of messages.
# The application checks --max_message_bytes itself and answers with a gRPC status; h2corn's limit
# only protects the web server.
_BODY_MARGIN_BYTES = 1 << 20
_STALL_SECONDS = 60.0
_FIRST_REQUEST_SECONDS = 10.0
# One holder may have a quarter of the connections.
_SHARE = 4
_HEADER_BYTES = 16 << 10
_STREAM_WINDOW_BYTES = 1 << 20
_CONNECTION_WINDOW_BYTES = 1 << 20
# If the web server ends by itself, it is started again up to seven times in a row, each time after
# twice the delay. If it ran for longer than _MOMENT_SECONDS, the count starts again.
_RESTARTS = 7
_FIRST_DELAY_SECONDS = 0.05
_MOMENT_SECONDS = 2.0

_NO_GRPC = (
    "this port answers HTTP only, because its TLS settings are not those of the gRPC port; send "
    "gRPC calls to the port of --port"
)
_NO_HTTP = (
    "this port answers gRPC only, because the REST port has its own TLS settings; send HTTP "
    "requests to the port of --rest_api_port"
)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Sockets with the same application and the same TLS.

    Attributes:
        listeners: The listening sockets.
        application: The application that answers their requests.
        certificates: TLS of the sockets; None for plain text.
    """

    listeners: Sequence[socket.socket]
    application: Application
    certificates: tls.TlsConfig | None = None


def endpoints(
    listeners: Listeners,
    *,
    http: Application,
    grpc: Callable[[Application], Application] | None,
    rpc_certificates: tls.TlsConfig | None,
    rest_certificates: tls.TlsConfig | None,
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
        rpc_certificates: TLS of the gRPC port; None for plain text.
        rest_certificates: TLS of the REST port; None for plain text.
    """
    if grpc is None:
        rest = Endpoint(listeners=listeners.rest, application=http, certificates=rest_certificates)
        return [rest] if listeners.rest else []
    if not listeners.rest or rpc_certificates == rest_certificates:
        both = [*listeners.rpc, *listeners.rest]
        return [Endpoint(listeners=both, application=grpc(http), certificates=rpc_certificates)]
    beside_grpc = http if rest_certificates is None else _refuse_http
    return [
        Endpoint(
            listeners=listeners.rpc,
            application=grpc(beside_grpc),
            certificates=rpc_certificates,
        ),
        Endpoint(
            listeners=listeners.rest,
            application=_HttpAlone(http),
            certificates=rest_certificates,
        ),
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
        self._running: list[_Running] = []
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
        most = open_files.most_connections(self._config.max_connections, servers=len(endpoints))
        for endpoint in endpoints:
            running = _Running(endpoint, self._config, self._traffic, most)
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

    async def _keep(self, running: "_Running") -> None:
        """Restart h2corn on an endpoint whenever it ends; set `failed` when attempts run out."""
        self.reason = await running.keep()
        self.failed.set()

    async def stop(self) -> None:
        """Stop accepting, and let the calls in flight finish within `drain_seconds`."""
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await asyncio.gather(*(running.stop() for running in self._running))


class _Running:
    """An h2corn server on one endpoint, restarted when it ends by itself.

    Each endpoint needs its own h2corn server, because TLS is a setting of the whole server.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        config: NetworkConfig,
        traffic: TrafficTable,
        most_connections: int,
    ) -> None:
        self._endpoint = endpoint
        self._application = Admission(endpoint.application, traffic)
        self._config = config
        self._most_connections = most_connections
        self._server: h2corn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start h2corn, which works on duplicates of the sockets.

        Raises:
            ConfigError: h2corn cannot start.
        """
        certificates = self._endpoint.certificates
        with contextlib.ExitStack() as stack:
            files = None
            try:
                if certificates:
                    files = stack.enter_context(tls.pem_files(certificates))
                config = _web_config(
                    self._config, self._endpoint.listeners, files, self._most_connections
                )
                self._server = h2corn.Server(self._application, config)
                self._serving = asyncio.create_task(self._server.serve())
                await self._server.wait_started()
            except (OSError, ValueError) as error:
                msg = f"the web server cannot start: {error}"
                raise ConfigError(msg) from error

    async def keep(self) -> str:
        """Start h2corn again whenever it ends by itself; give up after seven times in a row.

        Returns:
            Why it ended the last time.
        """
        attempts = 0
        reason = ""
        while attempts < _RESTARTS:
            began = time.monotonic()
            if self._serving is not None:
                await asyncio.wait({self._serving})  # unlike gather, not cancelled with this task
                reason = str(self._serving.exception() or "it ended without an error")
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
                await self.start()
            except ConfigError as error:
                self._serving = None
                reason = str(error)
        logger.critical("the web server ended %d times in a row: %s", attempts, reason)
        return reason

    async def stop(self) -> None:
        """Stop accepting, and let the calls in flight finish."""
        for listener in self._endpoint.listeners:
            listener.close()
        if self._server is not None and self._serving is not None:
            self._server.shutdown()
            await asyncio.gather(self._serving, return_exceptions=True)


def _web_config(
    config: NetworkConfig,
    listeners: Sequence[socket.socket],
    files: tls.PemFiles | None,
    most_connections: int,
) -> h2corn.Config:
    return h2corn.Config(
        bind=tuple(f"fd://{listener.fileno()}" for listener in listeners),
        certfile=files.certificate if files else None,
        keyfile=files.key if files else None,
        ca_certs=files.client_ca if files else None,
        cert_reqs="required" if files and files.client_ca else "none",
        grpc=True,
        log_format=config.log_format,
        access_log=False,  # one log line a call would cost more CPU time than a small model
        lifespan="off",
        # One thread does all HTTP/2 work of an endpoint; a second thread would only compete with
        # the models for a core.
        runtime_threads=1,
        loop="uvloop",
        server_header="off",
        # Connections over the limit wait to be accepted. The janitor closes some to make room, and
        # keeps two endpoints together within the limit.
        limit_connections=most_connections,
        # limit_concurrency stays off: above it, probes and health checks would get a 503 too. The
        # queues bound the requests that wait in them, and `Admission` bounds their headers.
        max_concurrent_streams=128,
        h2_max_header_list_size=_HEADER_BYTES,
        h2_max_header_block_size=_HEADER_BYTES,
        limit_request_head_size=2 * _HEADER_BYTES,  # HTTP/1.1: request line and headers
        limit_request_line=_HEADER_BYTES,
        limit_request_field_size=_HEADER_BYTES,
        limit_request_fields=100,
        h2_max_inbound_frame_size=64 << 10,
        h2_initial_stream_window_size=_STREAM_WINDOW_BYTES,
        h2_initial_connection_window_size=_CONNECTION_WINDOW_BYTES,
        timeout_handshake=5.0,
        timeout_request_header=10.0,
        # h2corn closes idle connections cleanly, but a client's pings defer that. The janitor
        # counts requests only.
        timeout_keep_alive=config.idle_connection_seconds,
        h2_timeout_write=_STALL_SECONDS,
        timeout_graceful_shutdown=config.drain_seconds,
        websocket_per_message_deflate=False,  # WebSockets are refused
        request_policies=(
            h2corn.RequestPolicy(
                path="/*",
                max_request_body_size=config.max_message_bytes + _BODY_MARGIN_BYTES,
                timeout_request_body_idle=_STALL_SECONDS,
                h2_timeout_response_stall=_STALL_SECONDS,
            ),
        ),
    )
