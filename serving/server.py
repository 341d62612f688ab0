"""The server: connects models, services and the web server, starts them and stops them."""

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import Metric

from serving.access import keys_file, roles
from serving.access.gate import Gate
from serving.access.keys_file import KeysFile
from serving.applications import Applications
from serving.engine.batching import active_runs
from serving.engine.catalog import Catalog
from serving.engine.devices import provider
from serving.engine.machine import watch_memory
from serving.errors import ConfigError, FailedPrecondition
from serving.model_source import ModelSource, version_loader
from serving.monitoring import version_statistics
from serving.monitoring.counts import Metrics
from serving.monitoring.metrics_page import MetricsPage
from serving.monitoring.version_statistics import VersionStatistics
from serving.services import Services
from serving.settings.config import ServerConfig
from serving.transport.certificates.watch import CertificateWatch
from serving.transport.limits.byte_budget import ByteBudget
from serving.transport.listeners import Listeners
from serving.transport.network_config import NetworkConfig
from serving.transport.tls import PortCertificates
from serving.transport.web.endpoint import Endpoint
from serving.transport.web_server import WebServer, endpoints
from serving.workers.worker import Link

if TYPE_CHECKING:
    from serving.transport.grpcio_server import GrpcioServer

logger = logging.getLogger(__name__)

# Minimum time to export the last traces, even if the drain time is used up.
_LEAST_FLUSH_SECONDS = 1.0


class ModelServer:
    """A model server in this process's event loop.

    Attributes:
        config: Settings of the server.
        manager: Manager of the models.
        port: The gRPC port; 0 before `start`.
        health_port: The health port; 0 before `start` or without one.
        admin_port: The admin listener's port; 0 before `start` or without one.
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
        self._following: list[asyncio.Task[None]] = []  # poll the model config file and TLS files
        self.port = 0
        self.health_port = 0
        self.admin_port = 0

        # The callers. With several workers, the supervisor reads the keys file.
        self._certificates = CertificateWatch(
            [path for path in (config.ssl_config_file, config.rest_api_ssl_config_file) if path],
            config.tls,
            may_differ=config.front == "grpcio",
        )
        self._keys_file: KeysFile | None = None
        if link is None and config.api_keys_file is not None:
            self._keys_file = KeysFile(config.api_keys_file)
        own = None if self._keys_file is None else self._keys_file.text
        keys = own if link is None else link.keys
        gate = _gate(config, keys, self._certificates.certificates)
        self._gate = gate

        # The models.
        runtime = config.runtime()
        device = provider.chosen(runtime.device, runtime.instances, runtime.intra_op_threads)
        catalog = Catalog()
        metrics = Metrics(catalog)
        load = version_loader(runtime, config.batching_of, warm_up=config.warm_up_iterations())
        self._source = ModelSource(config, link)
        self.manager = self._source.manager(load, catalog)
        self.manager.on_change = self._models_changed
        if config.metrics_path():
            self.manager.on_load = metrics.watch
        self._source.require_models()

        # The services that answer calls.
        page = MetricsPage(
            metrics,
            provider=device,
            file_failures=lambda: self._source.file_failures,
            refusals={} if gate is None else gate.refusals,
            keys_failures=lambda: 0 if self._keys_file is None else self._keys_file.failures,
            certificates=self._certificates,
            triton=config.triton_metrics,
        )
        if link is not None:
            link.serve(self.manager, page.metrics, partial(version_statistics.collect, metrics))
            link.on_keys = self._take_keys

        async def metrics_now() -> Sequence[Metric]:
            """Return the metrics of this process, or of all workers together."""
            return page.metrics() if link is None else await link.metrics()

        async def statistics() -> Sequence[VersionStatistics]:
            """Return the statistics of this process, or of all workers together."""
            found = version_statistics.collect(metrics) if link is None else await link.statistics()
            return version_statistics.read(found)

        self._services = Services(
            config,
            self.manager,
            metrics,
            metrics_now=metrics_now,
            statistics=statistics,
            repository=self._source.repository,
            is_ready=lambda: self._ready,
        )

        # The transport.
        network = config.network()
        self._network = network
        self._listeners = None if link is None else link.listeners
        applications = Applications(
            self._services, network, gate, with_cors=config.rest_api_enable_cors_support
        )
        self._applications = applications
        self._grpcio = None
        if config.front == "grpcio":
            self._grpcio = _grpcio_server(self._services, network, applications.budget, gate)
        self._web_server = WebServer(network)
        self._health_server = WebServer(applications.health_network)
        self._admin_server = WebServer(applications.admin_network)

    async def start(self) -> None:
        """Bind the ports, load and warm up the models, then accept calls.

        Connections are refused until every model has been loaded or has failed to load, so that no
        caller sees a server without its models. The health port answers NOT_SERVING from the
        beginning. With several workers, each waits until all workers have loaded their models. If
        this worker replaces one that ended, new connections go to the other workers until it has
        loaded its models.

        Raises:
            ConfigError: a port cannot be bound, or a version label has no available version.
            DeviceError: `--device cuda` was given, and a model cannot run on CUDA.
        """
        self._watching += [asyncio.create_task(active_runs.watch())]
        self._watching += [asyncio.create_task(watch_memory())]
        if self._keys_file is not None:
            seconds = self.config.api_keys_file_poll_wait_seconds
            watch = self._keys_file.watch(self._take_changed_keys, seconds)
            self._watching += [asyncio.create_task(watch)]
        listeners = await self._take_ports()
        await self._source.settle()
        await self._load_models()
        if self._link is None:
            listeners.listen()
        else:
            listeners = self._listeners = await self._link.wait_to_listen()
        await self._listen(listeners)
        rest = "".join(f", REST on {self.config.host}:{port}" for port in self._rest_ports())
        logger.info("listening on %s:%d%s, models are loaded", self.config.host, self.port, rest)
        following = self._source.watch(self.manager)
        self._following = [following] if following is not None else []
        changes = [self._web_server.change_certificates]
        if self._grpcio is not None:
            changes.append(self._grpcio.change_certificates)
        self._following.append(asyncio.create_task(self._certificates.watch(changes)))
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
            ConfigError: a version label or `--load_models` names what could not be loaded.
            DeviceError: `--device cuda` was given, and a model cannot run on CUDA.
        """
        try:
            # A worker that replaces another one starts even if a labelled version has lost its
            # files since: the other workers still serve that version.
            replaces = self._link is not None and self._link.replaces
            await self.manager.start(check_labels=not replaces)
            if not replaces:
                self._source.require_loaded(self.manager.catalog)
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
            self._listeners.listen_for_health()
            application = self._applications.health()
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
            self.port = await self._grpcio.start(self._certificates.certificates.grpc)
        else:
            self.port = int(opened.rpc[0].getsockname()[1])
        served = endpoints(
            opened,
            http=self._applications.http,
            grpc=None if self._grpcio is not None else self._applications.grpc,
            certificates=self._certificates.certificates,
        )
        if served:
            await self._web_server.start(served)
        if opened.admin:
            admin = Endpoint(listeners=opened.admin, application=self._applications.admin())
            await self._admin_server.start([admin])
            self._log_admin(opened.admin[0])

    def _log_admin(self, listener: socket.socket) -> None:
        """Log where the methods of role admin are answered."""
        where = str(self._network.admin_address)
        if listener.family != socket.AF_UNIX:
            where = "{}:{}".format(*listener.getsockname()[:2])
            self.admin_port = int(listener.getsockname()[1])
        logger.info("administration on %s", where)

    async def _take_changed_keys(self, text: str) -> None:
        self._take_keys(text)

    def _take_keys(self, text: str) -> None:
        """Let in the callers of a changed keys file, and nobody else."""
        if self._gate is not None:
            self._gate.update(keys_file.parse(text))

    async def wait_failed(self) -> None:
        """Return when a web server has failed; the log gives the reason."""
        servers = (self._web_server, self._health_server, self._admin_server)
        failures = [server.failed.wait() for server in servers]
        waiting = [asyncio.create_task(failure) for failure in failures]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    def _models_changed(self) -> None:
        if self._ready:
            self._services.report_health()

    def begin_lame_duck(self) -> None:
        """Answer NOT_SERVING to health checks from now on, and all other calls as before.

        A load balancer then sends its calls elsewhere before `stop` closes its connections.
        """
        self._ready = False
        self._services.report_not_serving()

    async def stop(self) -> None:
        """Refuse new calls, let the calls in flight finish within `drain_seconds`, and unload."""
        drained = time.monotonic() + self.config.drain_seconds
        self._ready = False
        self._services.shut_down_health()
        await _end(*self._following)
        leaving = []
        if self._link is not None:
            await self._link.turn_away()
            leaving.append(asyncio.create_task(self._link.leave()))
        await asyncio.gather(
            self._web_server.stop(),
            self._admin_server.stop(),
            *([self._grpcio.stop()] if self._grpcio is not None else []),
        )
        await _end(*leaving)
        await self._health_server.stop()
        await self._services.stop(max(_LEAST_FLUSH_SECONDS, drained - time.monotonic()))
        self._source.close()
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


def _gate(config: ServerConfig, keys: str | None, certificates: PortCertificates) -> Gate | None:
    """Return the gate; None if the server has no keys and asks for no client certificates."""
    asks = any(each is not None and each.client_ca for each in certificates)
    if keys is None:
        if config.api_keys_file is not None:  # never open a server that is meant to have keys
            msg = (
                f"--api_keys_file {config.api_keys_file} has not been read; start the server again"
            )
            raise ConfigError(msg)
        return Gate(None, frozenset()) if asks else None
    entries = keys_file.parse(keys)
    if not asks and (void := [entry.name for entry in entries if entry.subject is not None]):
        logger.warning(
            "entries of certificates have no effect, because no port asks for client certificates "
            "(client_verify in --ssl_config_file): %s",
            ", ".join(void),
        )
    return Gate(
        entries,
        roles.open_roles(config.open_access),
        workers=config.workers,
        reads_certificates=asks,
    )


def _grpcio_server(
    services: Services, network: NetworkConfig, budget: ByteBudget, gate: Gate | None
) -> "GrpcioServer":
    from serving.transport.grpcio_server import GrpcioServer  # noqa: PLC0415 - takes 16 MB

    return GrpcioServer(services.methods, network, budget=budget, gate=gate)
