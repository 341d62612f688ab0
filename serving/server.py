"""The server: models, services and the web server put together, started and stopped."""

import asyncio
import logging
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from serving.engine.batcher import BatchingConfig
from serving.engine.manager import LoadServable, Manager
from serving.engine.runtime import RuntimeConfig, choose_providers
from serving.engine.servable import Servable
from serving.errors import ConfigError, FailedPrecondition
from serving.inference.classify_regress import Inference
from serving.inference.predictor import Predictor
from serving.monitoring import metrics_page
from serving.monitoring.counts import Metrics
from serving.monitoring.metered_methods import metered
from serving.monitoring.metrics_page import MetricsPage
from serving.protocols.health_methods import SERVICE as HEALTH_SERVICE
from serving.protocols.health_methods import Health
from serving.protocols.json_process import JsonProcess
from serving.protocols.kserve.methods import INFERENCE_SERVICE, KServe
from serving.protocols.kserve.operations import InferenceService
from serving.protocols.kserve.routes import KServeRest
from serving.protocols.probe_routes import Probes
from serving.protocols.reflection_methods import Reflection
from serving.protocols.tfs import warmup
from serving.protocols.tfs.classify_methods import InferenceMethods
from serving.protocols.tfs.classify_routes import RestInference
from serving.protocols.tfs.predict_methods import (
    MODEL_SERVICE,
    PREDICTION_SERVICE,
    TensorFlowServing,
)
from serving.protocols.tfs.predict_routes import Rest
from serving.repository.model_folder import list_versions
from serving.settings.config import DEFAULT_MODELS_DIR, ServerConfig
from serving.settings.models_file import ModelConfigFile
from serving.transport.byte_budget import ByteBudget
from serving.transport.grpc_application import Application, GrpcApplication
from serving.transport.http_application import HttpApplication, Route
from serving.transport.listeners import Listeners
from serving.transport.method_table import Method, method_table
from serving.transport.web_server import WebServer
from serving.workers.worker import Link, WorkerManager

if TYPE_CHECKING:
    from serving.monitoring.tracing import Tracing
    from serving.transport.grpcio_server import GrpcioServer

logger = logging.getLogger(__name__)

# What the export of the last traces gets if the calls in flight needed the whole drain.
_LEAST_FLUSH_SECONDS = 1.0


class ModelServer:
    """A model server in this process's event loop.

    Attributes:
        config: Its settings.
        manager: Its models.
        port: The gRPC port, once started.
    """

    def __init__(self, config: ServerConfig, *, link: Link | None = None) -> None:
        """Put the parts together; nothing is bound or loaded yet.

        Args:
            config: The settings.
            link: To the supervisor, if this is one worker of several.

        Raises:
            ConfigError: there is no model, a settings file cannot be understood, or there is no
                OpenTelemetry for the traces that are asked for.
            DeviceError: the device asked for does not exist here.
        """
        self.config = config
        runtime = config.runtime()
        providers, reason = choose_providers(runtime.device)
        logger.info(
            "execution provider %s (%s), %d instances x %d threads a model",
            providers[0],
            reason,
            runtime.instances,
            runtime.intra_op_threads,
        )
        self._certificates = config.tls()
        self._link = link
        self._listeners = None if link is None else link.listeners
        self._model_config_file: ModelConfigFile | None = None
        self.manager = self._make_manager(
            partial(self._load, config=runtime, batching=config.batching())
        )
        self._metrics = Metrics(self.manager)
        self._metrics_path = config.metrics_path()
        self.manager.on_change = self._models_changed
        self._require_models()
        self._health = Health()
        predictor = Predictor(self.manager)
        tensorflow_serving = TensorFlowServing(
            predictor,
            self.manager,
            answer_as_tensor_content=config.enable_serialization_as_tensor_content,
        )
        kserve = InferenceService(
            predictor, self.manager, is_ready=lambda: self._ready, metrics=self._metrics
        )
        reflection = Reflection(
            [PREDICTION_SERVICE, MODEL_SERVICE, INFERENCE_SERVICE, HEALTH_SERVICE]
        )
        inference = Inference(predictor)
        rows = [
            *self._metered(tensorflow_serving.methods()),
            *self._metered(InferenceMethods(inference).methods()),
            *KServe(kserve).methods(),
            *self._health.methods(),
            *reflection.methods(),
        ]
        page = MetricsPage(self._metrics, provider=providers[0])
        if link is not None:
            link.serve(self.manager, page.metrics)
        probes = Probes(
            self._health, partial(_metrics_text, page, link), metrics_path=self._metrics_path
        )
        timeout_in_ms = config.rest_api_timeout_in_ms
        self._json = json = JsonProcess()
        rest = Rest(predictor, self.manager, self._metrics, json, timeout_in_ms=timeout_in_ms)
        rest_inference = RestInference(
            inference, predictor, self._metrics, json, timeout_in_ms=timeout_in_ms
        )
        rest_kserve = KServeRest(kserve, json, timeout_in_ms=timeout_in_ms)
        routes = [*rest.routes(), *rest_inference.routes(), *rest_kserve.routes()]
        self._tracing = _tracing() if config.enable_tracing else None
        if self._tracing is not None:
            rows, routes = self._tracing.methods(rows), self._tracing.routes(routes)
        methods = method_table(rows)
        with_grpcio = config.front == "grpcio"
        budget = ByteBudget(config.max_buffered_bytes)
        self._grpcio = _grpcio_server(methods, config, budget) if with_grpcio else None
        application = _application(
            {} if with_grpcio else methods, [*routes, *probes.routes()], config, budget
        )
        self._web_server = WebServer(application, config)
        self._watching: asyncio.Task[None] | None = None
        self._ready = False
        self.port = 0

    def _make_manager(self, load: LoadServable) -> Manager:
        """The manager, and where it finds its models.

        Raises:
            ConfigError: the list of models cannot be understood.
        """
        config, link = self.config, self._link
        find_models = config.find_models()
        if link is not None and link.models is not None:
            given = link.models
            find_models = lambda: given  # noqa: E731 - one of several ways, all short
        elif config.model_config_file is not None:
            retry_seconds = config.manager().retry_seconds
            file = ModelConfigFile(config.model_config_file, retry_seconds=retry_seconds)
            self._model_config_file = file
            find_models = lambda: file.models  # noqa: E731 - likewise
        if link is None:
            return Manager(find_models, load, config.manager())
        return WorkerManager(find_models, load, config.manager(), link)

    def _load(
        self, name: str, version: int, path: Path, config: RuntimeConfig, batching: BatchingConfig
    ) -> Servable:
        servable = Servable.load(name, version, path, config, batching)
        if self.config.enable_model_warmup:
            started = time.perf_counter()
            try:
                warmup.replay(servable, path)
            except Exception:
                servable.close()
                raise
            servable.warm_up_seconds += time.perf_counter() - started
        if self._metrics_path:
            self._metrics.watch(servable)
        return servable

    def _metered(self, methods: list[Method]) -> list[Method]:
        return metered(methods, self._metrics) if self._metrics_path else methods

    async def start(self) -> None:
        """Listen, then load and warm up the models; health is NOT_SERVING until that is done.

        One worker of several loads first: connections wait for it in its socket's queue, so that
        callers never see the successor of a worker that died without its models.

        Raises:
            ConfigError: the port cannot be bound, or see `_load_models`.
            DeviceError: CUDA was insisted on and a model did not get it.
        """
        is_worker = self._link is not None
        if is_worker:
            await self._load_models()
        await self._listen()
        what = "models are loaded" if is_worker else "loading models"
        logger.info("listening on %s:%d, %s", self.config.host, self.port, what)
        if not is_worker:
            await self._load_models()
        poll_seconds = self.config.model_config_file_poll_wait_seconds
        if self._model_config_file is not None and poll_seconds:
            watch = self._model_config_file.watch(self.manager.reload, poll_seconds)
            self._watching = asyncio.create_task(watch)
        if self._link is not None:
            await self._link.wait_for_others()
        self._ready = True
        self._models_changed()
        available = [name for name, ready in self.manager.availability.items() if ready]
        logger.info("ready: %s", ", ".join(available) or "no model")

    async def _load_models(self) -> None:
        """Load what there is.

        Raises:
            ConfigError: a version label leads to a version that is not there.
            DeviceError: CUDA was insisted on and a model did not get it.
        """
        try:
            # What takes the place of a worker that ended must not be kept from it by a version
            # that has lost its files since: the others serve it still.
            replaces = self._link is not None and self._link.replaces
            await self.manager.start(check_labels=not replaces)
        except FailedPrecondition as error:
            msg = (
                f"{self.config.model_config_file}: {error.message}; expected a version that can be "
                "loaded, or --allow_version_labels_for_unavailable_models"
            )
            raise ConfigError(msg) from error

    async def _listen(self) -> None:
        """Bind and accept.

        Raises:
            ConfigError: an address cannot be had.
        """
        if self._listeners is None:
            self._listeners = Listeners.open(self.config, rpc=self._grpcio is None)
        listeners = [*self._listeners.rpc, *self._listeners.rest]
        if self._grpcio is not None:
            self.port = await self._grpcio.start(self._certificates)
        else:
            self.port = int(listeners[0].getsockname()[1])
        if listeners:
            await self._web_server.start(listeners, self._certificates)

    def _require_models(self) -> None:
        """Refuse to start on a folder that is surely not meant.

        Raises:
            ConfigError: the folder of models, or of the one model, cannot be read or is empty.
        """
        has_list = self._link is not None and self._link.models is not None
        if self._model_config_file is not None or has_list:
            return  # an empty list is a wish, and its folders may fill later
        path = self.config.model_base_path
        try:
            models = self.config.find_models()()
            versions = [] if path is None else list_versions(path)
        except OSError as error:
            raise ConfigError(str(error)) from error
        if path is not None and not versions:
            msg = (
                f"no version of {self.config.model_name} found in {path.absolute()}; expected "
                "<version>/model.onnx in it, or another --model_base_path"
            )
            raise ConfigError(msg)
        if not models:
            folder = (self.config.models_dir or DEFAULT_MODELS_DIR).absolute()
            msg = (
                f"no model found in {folder}; expected <name>/<version>/model.onnx in it, or "
                "another --models_dir"
            )
            raise ConfigError(msg)

    def _models_changed(self) -> None:
        if self._ready:
            # TensorFlow Serving registers the unqualified names of its services.
            services = (
                "",
                PREDICTION_SERVICE,
                MODEL_SERVICE,
                INFERENCE_SERVICE,
                "PredictionService",
                "ModelService",
            )
            self._health.set_states(dict.fromkeys(services, True) | self.manager.availability)

    async def stop(self) -> None:
        """Refuse new work, let the calls in flight finish within `drain_seconds`, unload."""
        drained = time.monotonic() + self.config.drain_seconds
        self._ready = False
        self._health.shut_down()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await asyncio.gather(
            self._web_server.stop(), *([self._grpcio.stop()] if self._grpcio is not None else [])
        )
        await self._json.close()
        if self._tracing is not None:
            await self._tracing.stop(max(_LEAST_FLUSH_SECONDS, drained - time.monotonic()))
        await self.manager.close()
        if self._listeners is not None:
            self._listeners.remove_socket_path()


async def _metrics_text(page: MetricsPage, link: Link | None) -> bytes:
    """The page of metrics: this process', or the sum of all workers'."""
    return page.text() if link is None else metrics_page.render(await link.metrics())


def _application(
    methods: Mapping[str, Method], routes: list[Route], config: ServerConfig, budget: ByteBudget
) -> Application:
    """What the web server runs: HTTP routes, and gRPC unless another front end has the methods."""
    limit = config.max_message_bytes
    http = HttpApplication(routes, max_body_bytes=limit, budget=budget)
    if not methods:
        return http
    return GrpcApplication(methods, http, max_message_bytes=limit, budget=budget)


def _grpcio_server(
    methods: Mapping[str, Method], config: ServerConfig, budget: ByteBudget
) -> "GrpcioServer":
    from serving.transport.grpcio_server import GrpcioServer  # noqa: PLC0415 - 16 MB, only where it is used

    return GrpcioServer(methods, config, budget=budget)


def _tracing() -> "Tracing":
    try:
        from serving.monitoring.tracing import Tracing  # noqa: PLC0415 - an extra, only where it is used
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        msg = (
            "--enable_tracing is given, but OpenTelemetry is not installed; install "
            "onnx-serving[otel] beside the server, or leave the flag out"
        )
        raise ConfigError(msg) from error
    return Tracing()
