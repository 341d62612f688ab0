"""The server: connects models, services and the web server, starts them and stops them."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from serving.engine.batching import active_runs
from serving.engine.catalog import Catalog
from serving.engine.machine import watch_memory
from serving.engine.runtime import RuntimeConfig, choose_providers
from serving.errors import ConfigError, FailedPrecondition
from serving.model_source import ModelSource, version_loader
from serving.monitoring import metrics_page
from serving.monitoring.counts import Metrics
from serving.monitoring.metrics_page import MetricsPage
from serving.monitoring.shared_page import SharedPage
from serving.services import Services
from serving.settings.config import ServerConfig
from serving.transport.asgi import Application
from serving.transport.grpc_application import GrpcApplication
from serving.transport.http_application import HttpApplication
from serving.transport.limits.byte_budget import ByteBudget
from serving.transport.limits.unread_answers import UnreadAnswers
from serving.transport.listeners import Listeners
from serving.transport.network_config import NetworkConfig
from serving.transport.web_server import Endpoint, WebServer, endpoints
from serving.workers.worker import Link

if TYPE_CHECKING:
    from serving.transport.grpcio_server import GrpcioServer

logger = logging.getLogger(__name__)

# Minimum time to export the last traces, even if the drain time is used up.
_LEAST_FLUSH_SECONDS = 1.0
# Limits of the health port, whose requests have a few bytes.
_HEALTH_CONNECTIONS = 128
_HEALTH_MESSAGE_BYTES = 4096
_HEALTH_BUFFERED_BYTES = 1 << 20


class ModelServer:
    """A model server in this process's event loop.

    Attributes:
        config: Settings of the server.
        manager: Manager of the models.
        port: The gRPC port; 0 before `start`.
        health_port: The health port; 0 before `start` or without one.
    """

    def __init__(self, config: ServerConfig, *, link: Link | None = None) -> None:
        """Create the parts of the server; no port is bound and no model loaded yet.

        Args:
            config: The settings.
            link: Link to the supervisor; None if this process is the whole server.

        Raises:
            ConfigError: there is no model, a settings file is invalid, or `--enable_tracing` is
                given and OpenTelemetry is not installed.
            DeviceError: the configured device is not available.
        """
        self.config = config
        self._link = link
        self._ready = False
        self._watching: list[asyncio.Task[None]] = []  # watch runs and memory until the end of stop
        self._following: asyncio.Task[None] | None = None  # polls the model config file
        self.port = 0
        self.health_port = 0

        # The models.
        runtime = config.runtime()
        provider = _choose_provider(runtime)
        catalog = Catalog()
        metrics = Metrics(catalog)
        load = version_loader(
            runtime,
            config.batching_of,
            warm_up=config.warm_up_iterations(),
            on_load=metrics.watch if config.metrics_path() else lambda _servable: None,
        )
        self._source = ModelSource(config, link)
        self.manager = self._source.manager(load, catalog)
        self.manager.on_change = self._models_changed
        self._source.require_models()

        # The services that answer calls.
        page = MetricsPage(
            metrics, provider=provider, file_failures=lambda: self._source.file_failures
        )
        if link is not None:
            link.serve(self.manager, page.metrics)

        async def metrics_text() -> bytes:
            """Return the metrics page of this process, or of all workers together."""
            return page.text() if link is None else metrics_page.render(await link.metrics())

        shared_page = SharedPage(metrics_text)
        self._services = Services(
            config,
            self.manager,
            metrics,
            metrics_text=shared_page.text,
            is_ready=lambda: self._ready,
        )

        # The transport.
        network = config.network()
        self._network = network
        self._certificates, self._rest_certificates = config.tls()
        self._listeners = None if link is None else link.listeners
        budget = ByteBudget(network.max_buffered_bytes)
        with_grpcio = config.front == "grpcio"
        self._grpcio = _grpcio_server(self._services, network, budget) if with_grpcio else None
        self._http, grpc = _applications(
            self._services, network, budget, with_cors=config.rest_api_enable_cors_support
        )
        self._grpc = None if with_grpcio else grpc
        self._web_server = WebServer(network)
        self._health_server = WebServer(_health_network(network))

    async def start(self) -> None:
        """Bind the ports, load and warm up the models, then accept calls.

        Connections are refused until every model has been loaded or has failed to load, so that no
        caller sees a server without its models. The health port answers NOT_SERVING from the
        beginning. With several workers, each waits until all workers have loaded their models. If
        this worker replaces one that ended, its sockets already listen, and connections wait in
        their backlogs.

        Raises:
            ConfigError: a port cannot be bound, or a version label has no available version.
            DeviceError: `--device cuda` was given, and a model cannot run on CUDA.
        """
        self._watching += [asyncio.create_task(active_runs.watch())]
        self._watching += [asyncio.create_task(watch_memory())]
        listeners = await self._take_ports()
        await self._load_models()
        if self._link is None:
            listeners.listen()
        else:
            await self._link.wait_to_listen()
        await self._listen(listeners)
        rest = "".join(f", REST on {self.config.host}:{port}" for port in self._rest_ports())
        logger.info("listening on %s:%d%s, models are loaded", self.config.host, self.port, rest)
        self._following = self._source.watch(self.manager)
        if self._link is not None:
            await self._link.wait_for_others()
        self._ready = True
        self._models_changed()
        self._log_ready()

    def _rest_ports(self) -> list[int]:
        """Return the TCP ports that answer only REST; empty if REST shares the gRPC port."""
        opened = self._listeners.rest if self._listeners is not None else []
        return [int(listener.getsockname()[1]) for listener in opened]

    def _log_ready(self) -> None:
        """Log which models are served; log a warning if a model is not served."""
        availability = self.manager.catalog.availability
        served = ", ".join(name for name, available in availability.items() if available)
        missing = [name for name, available in availability.items() if not available]
        if missing:
            logger.warning(
                "ready: %s; %d of %d models not served, reasons above: %s",
                served or "no model",
                len(missing),
                len(availability),
                ", ".join(missing),
            )
        else:
            logger.info("ready: %s", served or "no model")

    async def _load_models(self) -> None:
        """Load the models.

        Raises:
            ConfigError: a version label names a version that could not be loaded.
            DeviceError: `--device cuda` was given, and a model cannot run on CUDA.
        """
        try:
            # A worker that replaces another one starts even if a labelled version has lost its
            # files since: the other workers still serve that version.
            replaces = self._link is not None and self._link.replaces
            await self.manager.start(check_labels=not replaces)
        except FailedPrecondition as error:
            msg = (
                f"{self.config.model_config_file}: {error.message}; expected a version that can be "
                "loaded, or --allow_version_labels_for_unavailable_models"
            )
            raise ConfigError(msg) from error

    async def _take_ports(self) -> Listeners:
        """Bind all ports, and accept calls on the health port.

        Raises:
            ConfigError: an address cannot be bound.
        """
        if self._listeners is None:
            self._listeners = Listeners.open(self._network, rpc=self._grpcio is None)
            if self._grpcio is not None:
                self.port = self._grpcio.claim()
            else:
                self.port = int(self._listeners.rpc[0].getsockname()[1])
            logger.info(
                "bound %s:%d; connections are refused until the models are loaded",
                self.config.host,
                self.port,
            )
        health = self._listeners.health
        if health:
            application = _health_application(self._services)
            await self._health_server.start([Endpoint(listeners=health, application=application)])
            self.health_port = int(health[0].getsockname()[1])
            logger.info("health on %s:%d", self.config.host, self.health_port)
        return self._listeners

    async def _listen(self, opened: Listeners) -> None:
        """Accept calls.

        Args:
            opened: The listening sockets.

        Raises:
            ConfigError: an address cannot be bound.
        """
        if self._grpcio is not None:
            self.port = await self._grpcio.start(self._certificates)
        else:
            self.port = int(opened.rpc[0].getsockname()[1])
        served = endpoints(
            opened,
            http=self._http,
            grpc=self._grpc,
            rpc_certificates=self._certificates,
            rest_certificates=self._rest_certificates,
        )
        if served:
            await self._web_server.start(served)

    async def wait_failed(self) -> None:
        """Return when a web server has failed; the log gives the reason."""
        failures = [server.failed.wait() for server in (self._web_server, self._health_server)]
        waiting = [asyncio.create_task(failure) for failure in failures]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    def _models_changed(self) -> None:
        if self._ready:
            self._services.report_health()

    async def stop(self) -> None:
        """Refuse new calls, let the calls in flight finish within `drain_seconds`, and unload."""
        drained = time.monotonic() + self.config.drain_seconds
        self._ready = False
        self._services.shut_down_health()
        await _end(*([self._following] if self._following is not None else []))
        await asyncio.gather(
            self._web_server.stop(), *([self._grpcio.stop()] if self._grpcio is not None else [])
        )
        await self._health_server.stop()
        await self._services.stop(max(_LEAST_FLUSH_SECONDS, drained - time.monotonic()))
        left = await self.manager.close(max(0.0, drained - time.monotonic()))
        # Not earlier: during the drain, `active_runs.watch` ends runs whose callers are gone.
        await _end(*self._watching)
        if left:
            logger.error("not unloaded, because their runs do not end: %s", ", ".join(left))
        if self._listeners is not None:
            self._listeners.close()
            self._listeners.remove_socket_path()


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _choose_provider(runtime: RuntimeConfig) -> str:
    """Return the execution provider that models will run on, and log it.

    Raises:
        DeviceError: the configured device is not available.
    """
    providers, reason = choose_providers(runtime.device)
    logger.info(
        "execution provider %s (%s), %d instances x %d threads a model",
        providers[0],
        reason,
        runtime.instances,
        runtime.intra_op_threads,
    )
    return providers[0]


def _applications(
    services: Services, network: NetworkConfig, budget: ByteBudget, *, with_cors: bool
) -> tuple[Application, Callable[[Application], Application]]:
    """Return the web server's applications.

    Returns:
        The HTTP application, and a function that puts the gRPC application before another one,
        which answers requests that are not gRPC.
    """
    limit = network.max_message_bytes
    unread = UnreadAnswers(network.max_buffered_bytes)
    http = HttpApplication(
        services.routes, max_body_bytes=limit, budget=budget, unread=unread, with_cors=with_cors
    )

    def grpc(beside: Application) -> Application:
        return GrpcApplication(
            services.methods, beside, max_message_bytes=limit, budget=budget, unread=unread
        )

    return http, grpc


def _health_network(network: NetworkConfig) -> NetworkConfig:
    """Return the network settings of the health port."""
    return replace(
        network,
        max_connections=min(network.max_connections, _HEALTH_CONNECTIONS),
        max_message_bytes=_HEALTH_MESSAGE_BYTES,
    )


def _health_application(services: Services) -> Application:
    """Return the application of the health port, with its own byte budget."""
    limit = _HEALTH_MESSAGE_BYTES
    budget = ByteBudget(_HEALTH_BUFFERED_BYTES)
    unread = UnreadAnswers(_HEALTH_BUFFERED_BYTES)
    http = HttpApplication(
        services.health_routes, max_body_bytes=limit, budget=budget, unread=unread
    )
    return GrpcApplication(
        services.health_methods, http, max_message_bytes=limit, budget=budget, unread=unread
    )


def _grpcio_server(
    services: Services, network: NetworkConfig, budget: ByteBudget
) -> "GrpcioServer":
    from serving.transport.grpcio_server import GrpcioServer  # noqa: PLC0415 - takes 16 MB

    return GrpcioServer(services.methods, network, budget=budget)
