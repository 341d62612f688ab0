"""One h2corn server (HTTP/2 in Rust) on the sockets of an endpoint, from its start to its end."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence

# By default, h2corn's allocator, mimalloc, returns memory to the system only while it is in use:
# after a flood of requests, its memory would stay allocated until the next flood.
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")

import h2corn
import h2corn._lib

from serving.errors import ConfigError
from serving.transport import tls
from serving.transport.admission import Admission
from serving.transport.limits.traffic import TrafficTable
from serving.transport.network_config import NetworkConfig
from serving.transport.web.endpoint import Endpoint
from serving.transport.web.farewell import Farewell

# h2corn writes its name and address to standard error whenever a server starts, and no setting
# stops it. The lines have no time stamp, and their JSON is not that of this server's log.
h2corn._lib.emit_banner = lambda *_: None  # noqa: SLF001

# h2corn's limit on a body exceeds --max_message_bytes by this margin, for the framing of messages.
# The application checks --max_message_bytes itself and answers with a gRPC status; h2corn's limit
# only protects the web server.
_BODY_MARGIN_BYTES = 1 << 20
_STALL_SECONDS = 60.0
_HEADER_BYTES = 16 << 10
_STREAM_WINDOW_BYTES = 1 << 20
_CONNECTION_WINDOW_BYTES = 1 << 20


class H2cornServer:
    """An h2corn server, which is started once and works on duplicates of the sockets."""

    def __init__(
        self,
        endpoint: Endpoint,
        config: NetworkConfig,
        traffic: TrafficTable,
        most_connections: int,
    ) -> None:
        """Create a server; `start` accepts connections.

        Args:
            endpoint: Sockets, application and TLS.
            config: Limits and drain time.
            traffic: Counts the requests of each connection.
            most_connections: Most connections at a time; further ones wait to be accepted.
        """
        self._endpoint = endpoint
        self._config = config
        self._most_connections = most_connections
        # Only a server with TLS is ever replaced by another one on the same sockets.
        self._farewell = Farewell(endpoint.application) if endpoint.certificates else None
        self._application = Admission(self._farewell or endpoint.application, traffic)
        self._server: h2corn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accept connections.

        Raises:
            ConfigError: h2corn cannot start, for example because it rejects the certificates.
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
                await self.wait_ended()
                msg = f"the web server cannot start: {error}"
                raise ConfigError(msg) from error

    async def wait_ended(self) -> str:
        """Return, when the server has ended, why it did; immediately if it did not start."""
        if self._serving is None:
            return ""
        await asyncio.wait({self._serving})  # unlike gather, not cancelled with this task
        error = None if self._serving.cancelled() else self._serving.exception()
        return str(error or "it ended without an error")

    def close_after_answers(self) -> None:
        """From now on, end each HTTP/1.1 connection with its next answer."""
        if self._farewell is not None:
            self._farewell.is_leaving = True

    def retire(self) -> None:
        """Stop accepting in favour of another server, and let the calls in flight finish."""
        if self._server is not None:
            # Unlike `shutdown`, this does not tell systemd that the whole service stops.
            self._server._request_restart()  # noqa: SLF001

    async def stop(self) -> None:
        """Stop accepting, and return when the calls in flight have finished."""
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
        # A body of 100 kB in one frame takes fewer turns of the event loop (docs/performance.md).
        h2_max_inbound_frame_size=128 << 10,
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
