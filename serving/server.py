"""The server: models, services and the web server put together, started and stopped."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from serving import warmup
from serving.batcher import BatchingConfig
from serving.byte_budget import ByteBudget
from serving.config import DEFAULT_MODELS_DIR, ServerConfig
from serving.errors import ConfigError
from serving.front_asgi import Application, GrpcApplication
from serving.health import SERVICE as HEALTH_SERVICE
from serving.health import Health
from serving.http import HttpApplication, Route
from serving.inference import Inference
from serving.kserve_service import InferenceService
from serving.listeners import Listeners
from serving.manager import Manager
from serving.metered_methods import metered
from serving.metrics import Metrics
from serving.metrics_page import MetricsPage
from serving.model_config_list import ModelConfigFile
from serving.model_folder import list_versions
from serving.predictor import Predictor
from serving.probes import Probes
from serving.reflection import Reflection
from serving.rest import Rest
from serving.rest_inference import RestInference
from serving.rest_kserve import KServeRest
from serving.rpc import Method, method_table
from serving.rpc_inference import InferenceMethods
from serving.rpc_kserve import INFERENCE_SERVICE, KServe
from serving.rpc_tfs import MODEL_SERVICE, PREDICTION_SERVICE, TensorFlowServing
from serving.runtime import RuntimeConfig, choose_providers
from serving.servable import Servable
from serving.web_server import WebServer

if TYPE_CHECKING:
    from serving.front_grpcio import GrpcioServer
    from serving.tracing import Tracing

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

    def __init__(
        self,
        config: ServerConfig,
        *,
        listeners: Listeners | None = None,
        wait_for_others: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Put the parts together; nothing is bound or loaded yet.

        Args:
            config: The settings.
            listeners: Sockets to use instead of those that the settings ask for.
            wait_for_others: Awaited when the models are loaded, before the server calls itself
                ready.

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
        self._model_config_file: ModelConfigFile | None = None
        find_models = config.find_models()
        if config.model_config_file is not None:
            retry_seconds = config.manager().retry_seconds
            file = ModelConfigFile(config.model_config_file, retry_seconds=retry_seconds)
            self._model_config_file = file
            find_models = lambda: file.models  # noqa: E731 - one of two ways, both short
        self.manager = Manager(
            find_models,
            partial(self._load, config=runtime, batching=config.batching()),
            config.manager(),
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
            reloadable=config.workers == 1,
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
        probes = Probes(self._health, page, metrics_path=self._metrics_path)
        timeout_in_ms = config.rest_api_timeout_in_ms
        rest = Rest(predictor, self.manager, self._metrics, timeout_in_ms=timeout_in_ms)
        rest_inference = RestInference(
            inference, predictor, self._metrics, timeout_in_ms=timeout_in_ms
        )
        routes = [*rest.routes(), *rest_inference.routes(), *KServeRest(kserve).routes()]
        self._tracing = _tracing() if config.enable_tracing else None
        if self._tracing is not None:
            rows, routes = self._tracing.methods(rows), self._tracing.routes(routes)
        methods = method_table(rows)
        with_grpcio = config.front == "grpcio"
        self._grpcio = _grpcio_server(methods, config) if with_grpcio else None
        application = _application(
            {} if with_grpcio else methods, [*routes, *probes.routes()], config
        )
        self._web_server = WebServer(application, config)
        self._listeners = listeners
        self._wait_for_others = wait_for_others
        self._watching: asyncio.Task[None] | None = None
        self._ready = False
        self.port = 0

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
            ConfigError: the port cannot be bound.
            DeviceError: CUDA was insisted on and a model did not get it.
        """
        is_worker = self._wait_for_others is not None
        if is_worker:
            await self.manager.start()
        await self._listen()
        what = "models are loaded" if is_worker else "loading models"
        logger.info("listening on %s:%d, %s", self.config.host, self.port, what)
        if not is_worker:
            await self.manager.start()
        poll_seconds = self.config.model_config_file_poll_wait_seconds
        if self._model_config_file is not None and poll_seconds:
            watch = self._model_config_file.watch(self.manager.reload, poll_seconds)
            self._watching = asyncio.create_task(watch)
        if self._wait_for_others is not None:
            await self._wait_for_others()
        self._ready = True
        self._models_changed()
        available = [name for name, ready in self.manager.availability.items() if ready]
        logger.info("ready: %s", ", ".join(available) or "no model")

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
        if self._model_config_file is not None:
            return  # an empty list is a wish, and its folders may fill later
        try:
            models = self.config.find_models()()
        except OSError as error:
            raise ConfigError(str(error)) from error
        path = self.config.model_base_path
        if path is not None and not list_versions(path):
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
        if self._tracing is not None:
            await self._tracing.stop(max(_LEAST_FLUSH_SECONDS, drained - time.monotonic()))
        await self.manager.close()
        if self._listeners is not None:
            self._listeners.remove_socket_path()


def _application(
    methods: Mapping[str, Method], routes: list[Route], config: ServerConfig
) -> Application:
    """What the web server runs: HTTP routes, and gRPC unless another front end has the methods."""
    limit = config.max_message_bytes
    budget = ByteBudget(config.max_buffered_bytes)
    http = HttpApplication(routes, max_body_bytes=limit, budget=budget)
    if not methods:
        return http
    return GrpcApplication(methods, http, max_message_bytes=limit, budget=budget)


def _grpcio_server(methods: Mapping[str, Method], config: ServerConfig) -> "GrpcioServer":
    from serving.front_grpcio import GrpcioServer  # noqa: PLC0415 - 16 MB, only where it is used

    return GrpcioServer(methods, config)


def _tracing() -> "Tracing":
    try:
        from serving.tracing import Tracing  # noqa: PLC0415 - an extra, only where it is used
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        msg = (
            "--enable_tracing is given, but OpenTelemetry is not installed; install "
            "onnx-serving[otel] beside the server, or leave the flag out"
        )
        raise ConfigError(msg) from error
    return Tracing()
