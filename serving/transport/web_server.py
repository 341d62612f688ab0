"""The web server under the ASGI application: h2corn, HTTP/2 in Rust.

It is the one module that knows h2corn; any ASGI server with HTTP/2 trailers could take its place.
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence

import h2corn

from serving.errors import ConfigError
from serving.transport import tls
from serving.transport.asgi import Application
from serving.transport.network_config import NetworkConfig

# Room for a message's own framing over --max_message_bytes: the limit that callers are told of is
# checked by the application, which answers with a gRPC status; this one only guards the web server.
_BODY_MARGIN_BYTES = 1 << 20
_STALL_SECONDS = 60.0


class WebServer:
    """Serves an ASGI application on sockets that listen already."""

    def __init__(self, application: Application, config: NetworkConfig) -> None:
        """Prepare.

        Args:
            application: What answers.
            config: Limits, and the certificates if there are any.
        """
        self._application = application
        self._config = config
        self._server: h2corn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(
        self, listeners: Sequence[socket.socket], certificates: tls.TlsConfig | None
    ) -> None:
        """Accept connections. The sockets are the web server's afterwards; they end with it.

        Args:
            listeners: Each one answers gRPC and HTTP.
            certificates: None for plain text.

        Raises:
            ConfigError: the web server does not take the certificates.
        """
        with contextlib.ExitStack() as stack:
            for listener in listeners:
                stack.enter_context(listener)  # the web server works on a duplicate
            files = stack.enter_context(tls.pem_files(certificates)) if certificates else None
            self._server = h2corn.Server(
                self._application, _web_config(self._config, listeners, files)
            )
            self._serving = asyncio.create_task(self._server.serve())
            try:
                await self._server.wait_started()
            except (OSError, ValueError) as error:
                msg = f"the web server cannot start: {error}"
                raise ConfigError(msg) from error

    async def stop(self) -> None:
        """Accept nothing more and let the calls in flight finish within `drain_seconds`."""
        if self._server is not None and self._serving is not None:
            self._server.shutdown()
            await asyncio.gather(self._serving, return_exceptions=True)


def _web_config(
    config: NetworkConfig, listeners: Sequence[socket.socket], files: tls.PemFiles | None
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
        # One thread does all HTTP/2 work; a second one would only take a core from the models.
        runtime_threads=1,
        loop="uvloop",
        server_header="off",
        # gRPC clients keep one connection for all calls: they want more streams than a browser.
        max_concurrent_streams=1024,
        timeout_keep_alive=0,  # idle gRPC connections stay open, as with grpc's own servers
        timeout_graceful_shutdown=config.drain_seconds,
        request_policies=(
            h2corn.RequestPolicy(
                path="/*",
                max_request_body_size=config.max_message_bytes + _BODY_MARGIN_BYTES,
                timeout_request_body_idle=_STALL_SECONDS,
                h2_timeout_response_stall=_STALL_SECONDS,
            ),
        ),
    )
