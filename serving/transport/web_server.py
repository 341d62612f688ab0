"""The web server under the ASGI applications: h2corn, HTTP/2 in Rust; and where it answers what.

It is the one module that knows h2corn; any ASGI server with HTTP/2 trailers could take its place.
docs/limits.md has the table of all its limits and of the memory that they allow.
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

# h2corn's allocator, mimalloc, gives memory back only while it is busy: what a flood of requests
# took would stay until the next one.
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

# Room for a message's own framing over --max_message_bytes: the limit that callers are told of is
# checked by the application, which answers with a gRPC status; this one only guards the web server.
_BODY_MARGIN_BYTES = 1 << 20
_STALL_SECONDS = 60.0
_FIRST_REQUEST_SECONDS = 10.0
# The part of the connections that one holder gets.
_SHARE = 4
_HEADER_BYTES = 16 << 10
_STREAM_WINDOW_BYTES = 1 << 20
_CONNECTION_WINDOW_BYTES = 1 << 20
# If the web server ends by itself, it is started again so many times in a row, each after twice
# the time. One that lasted longer than a moment has begun a new row.
_RESTARTS = 7
_FIRST_DELAY_SECONDS = 0.05
_MOMENT_SECONDS = 2.0

_NO_GRPC = (
    "this port answers HTTP alone, because its TLS is not that of the port for gRPC; call the "
    "port that --port names"
)
_NO_HTTP = (
    "this port answers gRPC alone, because the port for REST has TLS of its own; call the port "
    "that --rest_api_port names"
)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Sockets that answer alike.

    Attributes:
        listeners: The sockets; they listen.
        application: What answers.
        certificates: None for plain text.
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
    """The endpoints for gRPC and REST.

    Without TLS, and with the same TLS on both, the ports are one endpoint that answers both on
    either. With TLS on one of them, or with different TLS, they are two, and none may be a way
    around the certificates of the other: the port for REST answers no gRPC, and the port for gRPC
    no HTTP if the port for REST has TLS of its own.

    Args:
        listeners: The sockets. Those for health are left out: they are an endpoint of their own.
        http: Answers HTTP requests.
        grpc: Makes what answers gRPC calls, and leaves the other requests to the application that
            it is given; None where another library answers them.
        rpc_certificates: Of the port for gRPC; None for plain text.
        rest_certificates: Of the port for REST; likewise.
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
    """HTTP; a gRPC call is told where to go."""

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
    """Tell an HTTP request where to go."""
    response = error_response(StatusCode.NOT_FOUND, _NO_HTTP)
    headers = [(b"content-type", response.content_type.encode())]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


class WebServer:
    """Serves ASGI applications on sockets that listen already.

    Attributes:
        failed: Set when it has ended on an endpoint and cannot be started again.
        reason: Why it last ended by itself.
    """

    def __init__(self, config: NetworkConfig) -> None:
        """Prepare.

        Args:
            config: The limits, for all endpoints together.
        """
        self._config = config
        self._traffic = TrafficTable()
        self._running: list[_Running] = []
        self._beside: list[asyncio.Task[None]] = []
        self.failed = asyncio.Event()
        self.reason = ""

    async def start(self, endpoints: Sequence[Endpoint]) -> None:
        """Accept connections. The sockets are the web server's afterwards; they end with it.

        Args:
            endpoints: Where to answer what.

        Raises:
            ConfigError: the web server does not take the certificates.
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
        """Keep an endpoint answering; if that is impossible, this server has failed."""
        self.reason = await running.keep()
        self.failed.set()

    async def stop(self) -> None:
        """Accept nothing more and let the calls in flight finish within `drain_seconds`."""
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await asyncio.gather(*(running.stop() for running in self._running))


class _Running:
    """h2corn on one endpoint, which is started again when it ends by itself.

    TLS is a setting of h2corn's whole server, so that endpoints need one each.
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
            ConfigError: it does not start.
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
        """Start h2corn again when it ends by itself; give up after some attempts.

        Returns:
            Why it ended at last.
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
                "the web server ended by itself: %s; its connections are lost, it listens again "
                "in %.2f s",
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
        """Accept nothing more and let the calls in flight finish."""
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
        access_log=False,  # a line a call costs more than a small model
        lifespan="off",
        # One thread does all HTTP/2 work of an endpoint; a second one would only take a core from
        # the models.
        runtime_threads=1,
        loop="uvloop",
        server_header="off",
        # Connections over the limit wait to be accepted; the janitor sees to it that some end, and
        # that two endpoints together hold no more.
        limit_connections=most_connections,
        # No limit_concurrency: over it, probes and the health of the server would get a 503, too.
        # Requests that wait are bounded where they wait, and their headers by `Admission`.
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
        # A friendly goodbye to idle connections. A client's pings put it off: the janitor counts
        # requests.
        timeout_keep_alive=config.idle_connection_seconds,
        h2_timeout_write=_STALL_SECONDS,
        timeout_graceful_shutdown=config.drain_seconds,
        websocket_per_message_deflate=False,  # there are no WebSockets
        request_policies=(
            h2corn.RequestPolicy(
                path="/*",
                max_request_body_size=config.max_message_bytes + _BODY_MARGIN_BYTES,
                timeout_request_body_idle=_STALL_SECONDS,
                h2_timeout_response_stall=_STALL_SECONDS,
            ),
        ),
    )
