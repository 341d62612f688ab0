"""The services: all gRPC methods and HTTP routes of a server, built from its settings."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from serving.access.roles import Role
from serving.console.browser_guard import host_names
from serving.console.console_routes import ConsoleRoutes, MetricsNow
from serving.engine.machine import available_cores
from serving.engine.manager import Manager
from serving.errors import ConfigError, PermissionDenied, ServingError, Unsupported
from serving.inference.classify_regress import ClassifyRegress
from serving.inference.predictor import Predictor
from serving.monitoring import metrics_page
from serving.monitoring.counts import Metrics
from serving.monitoring.metered_methods import metered
from serving.monitoring.shared_result import SharedResult
from serving.protocols.health_methods import SERVICE as HEALTH_SERVICE
from serving.protocols.health_methods import Health
from serving.protocols.json_process import JsonProcesses
from serving.protocols.kserve.management import Management, Statistics, extensions
from serving.protocols.kserve.management_methods import ManagementMethods
from serving.protocols.kserve.management_routes import ManagementRoutes
from serving.protocols.kserve.methods import KSERVE_SERVICE, KServeMethods
from serving.protocols.kserve.model_repository import FindModels, ModelRepository
from serving.protocols.kserve.operations import KServeOperations
from serving.protocols.kserve.routes import KServeRoutes
from serving.protocols.probe_routes import Probes
from serving.protocols.reflection_methods import Reflection
from serving.protocols.start_page import StartPage
from serving.protocols.tfs.classify_methods import ClassifyMethods
from serving.protocols.tfs.classify_routes import ClassifyRoutes
from serving.protocols.tfs.model_methods import MODEL_SERVICE, ModelMethods
from serving.protocols.tfs.predict_methods import PREDICTION_SERVICE, PredictMethods
from serving.protocols.tfs.predict_routes import PredictRoutes
from serving.repository.version_folders import local_folder
from serving.settings.config import ServerConfig
from serving.transport.method_table import Method, UnaryMethod, method_table
from serving.transport.route_table import Route

if TYPE_CHECKING:
    from serving.monitoring.tracing import Tracing

# Service names that grpc.health.v1 knows in addition to the models. The unqualified names are those
# that TensorFlow Serving registers.
_HEALTH_NAMES = (
    "",
    PREDICTION_SERVICE,
    MODEL_SERVICE,
    KSERVE_SERVICE,
    "PredictionService",
    "ModelService",
)


Row = TypeVar("Row", Method, Route)

_SWITCHED_OFF = (
    "this server does not change its models by a call (--enable_reload_rpc=false); change its "
    "--model_config_file or its folders instead"
)
_ELSEWHERE = (
    "this call is answered only by the server's admin listener (--admin_address), which other "
    "machines cannot reach"
)


class Services:
    """The objects that answer calls, and the tables of methods and routes.

    Attributes:
        methods: gRPC methods of the ports, by path.
        routes: HTTP routes of the ports; the first that matches a request answers it.
        admin_methods: gRPC methods of the admin listener, by path.
        admin_routes: HTTP routes of the admin listener.
        health_methods: gRPC methods of the health port, by path.
        health_routes: HTTP routes of the health port.
    """

    methods: Mapping[str, Method]
    routes: Sequence[Route]
    admin_methods: Mapping[str, Method]
    admin_routes: Sequence[Route]
    health_methods: Mapping[str, Method]
    health_routes: Sequence[Route]

    def __init__(
        self,
        config: ServerConfig,
        manager: Manager,
        metrics: Metrics,
        *,
        metrics_now: MetricsNow,
        statistics: Statistics,
        repository: FindModels | None,
        is_ready: Callable[[], bool],
    ) -> None:
        """Build the tables.

        Args:
            config: The settings.
            manager: The manager of the models.
            metrics: Counts calls, unless the settings switch the metrics off.
            metrics_now: Returns the metrics of this process, or of all workers together.
            statistics: Returns the statistics of all versions.
            repository: Lists the models that calls may load; None: calls may load none.
            is_ready: Returns whether every model has been loaded or has failed to load.

        Raises:
            ConfigError: `--enable_tracing` is given and OpenTelemetry is not installed.
        """
        self._health = Health()
        self._catalog = manager.catalog
        self._json = JsonProcesses(max(2, available_cores() // config.workers))
        self._tracing = _tracing() if config.enable_tracing else None
        metrics_path = config.metrics_path()
        timeout_in_ms = config.rest_api_timeout_in_ms
        predictor = Predictor(
            manager.catalog,
            max_rows=config.max_rows_per_request,
            check_method_names=config.enable_signature_method_name_check,
        )
        classify_regress = ClassifyRegress(predictor)
        counted = SharedResult(statistics).get if metrics_path else None
        kserve = KServeOperations(
            predictor,
            manager.catalog,
            is_ready=is_ready,
            metrics=metrics,
            server_name=config.kserve_server_name,
            extensions=extensions(statistics=counted is not None, explicit=repository is not None),
        )
        management = Management(
            kserve,
            manager.catalog,
            counted,
            traced=config.enable_tracing,
            log_format=config.log_format,
        )
        models = ModelRepository(manager, metrics, repository)

        # Only the rows of TensorFlow Serving's gRPC methods are wrapped by `metered`. KServe's
        # calls are counted in `KServeOperations`, for gRPC and REST.
        tensorflow_serving = [
            *PredictMethods(
                predictor,
                answer_as_tensor_content=config.enable_serialization_as_tensor_content,
            ).methods(),
            *ModelMethods(predictor, manager, metrics).methods(),
            *ClassifyMethods(classify_regress).methods(),
        ]

        async def metrics_text() -> bytes:
            return metrics_page.render(await metrics_now())

        methods = [
            *(metered(tensorflow_serving, metrics) if metrics_path else tensorflow_serving),
            *KServeMethods(kserve, raw_answers=config.kserve_raw_answers).methods(),
            *ManagementMethods(management, models).methods(),
            *self._health.methods(),
            *Reflection(
                [PREDICTION_SERVICE, MODEL_SERVICE, KSERVE_SERVICE, HEALTH_SERVICE]
            ).methods(),
        ]
        shared = SharedResult(metrics_text).get
        probes = Probes(self._health, manager.catalog, shared, metrics_path=metrics_path)
        changing = ManagementRoutes(management, models).routes()
        if not config.enable_reload_rpc:
            changing = _without_admin(changing, Unsupported(_SWITCHED_OFF))
        routes = [
            *PredictRoutes(
                predictor,
                manager.catalog,
                metrics,
                self._json,
                timeout_in_ms=timeout_in_ms,
                tfs_format=config.rest_api_tfs_format,
            ).routes(),
            *ClassifyRoutes(
                classify_regress,
                predictor,
                metrics,
                self._json,
                timeout_in_ms=timeout_in_ms,
                tfs_format=config.rest_api_tfs_format,
            ).routes(),
            *changing,  # before the metadata of a model whose path is /v2/models/stats
            *KServeRoutes(kserve, self._json, timeout_in_ms=timeout_in_ms).routes(),
            *probes.routes(),
        ]
        routes += (
            ConsoleRoutes(
                manager.catalog,
                metrics_now,
                routes,
                folder_of=partial(local_folder, manager.version_folders),
                facts=_facts(config),
                hosts=host_names(config.console_hosts),
            ).routes()
            if config.enable_console
            else StartPage(manager.catalog, metrics_path=metrics_path).routes()
        )
        if self._tracing is not None:
            methods, routes = self._tracing.methods(methods), self._tracing.routes(routes)
        if not config.enable_reload_rpc:
            methods = _without_admin(methods, Unsupported(_SWITCHED_OFF))
        self.admin_methods, self.admin_routes = method_table(methods), routes
        if config.admin_address:
            elsewhere = PermissionDenied(_ELSEWHERE)
            routes = _without_admin(routes, elsewhere)
            if config.enable_reload_rpc:
                methods = _without_admin(methods, elsewhere)
        self.methods = method_table(methods)
        self.routes = routes
        self.health_methods = method_table(self._health.methods())
        self.health_routes = probes.health_routes()

    def report_health(self) -> None:
        """Report to grpc.health.v1 that the server is ready and which models are available."""
        self._health.set_states(dict.fromkeys(_HEALTH_NAMES, True) | self._catalog.availability)

    def report_not_serving(self) -> None:
        """Report to grpc.health.v1 that neither the server nor a model is to get calls."""
        self._health.set_not_serving()

    def shut_down_health(self) -> None:
        """Report to grpc.health.v1 that the server stops, and end its Watch calls."""
        self._health.shut_down()

    async def stop(self, flush_seconds: float) -> None:
        """End the JSON processes and export the last traces.

        Args:
            flush_seconds: Time limit of the export, in seconds.
        """
        await self._json.close()
        if self._tracing is not None:
            await self._tracing.stop(flush_seconds)


def _without_admin(rows: Iterable[Row], refusal: ServingError) -> list[Row]:
    """Return the rows; each of role admin answers with an error instead of being run."""

    async def refuse(*_arguments: Any) -> NoReturn:  # noqa: ANN401 - a message or an HTTP request
        raise refusal

    return [
        replace(row, handler=refuse)
        if isinstance(row, UnaryMethod | Route) and row.role is Role.ADMIN
        else row
        for row in rows
    ]


def _facts(config: ServerConfig) -> dict[str, Any]:
    """Return what the console says about the server beside its models."""
    # Without TLS, each port answers gRPC and REST, and so do two ports with the same TLS.
    is_one = config.front == "asgi" and config.ssl_config_file == config.rest_api_ssl_config_file
    return {
        "grpc_port": None if is_one or not config.rest_api_port else config.port,
        "grpc_has_tls": config.ssl_config_file is not None,
        "has_keys": config.api_keys_file is not None,
        "is_metered": config.metrics_path() is not None,
        "metrics_path": config.metrics_path(),
        "workers": config.workers,
    }


def _tracing() -> "Tracing":
    try:
        from serving.monitoring.tracing import Tracing  # noqa: PLC0415 - needs the extra `otel`
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        msg = (
            "--enable_tracing is given, but OpenTelemetry is not installed; install "
            "the extra otel beside the server, from a checkout: pip install '.[serve,otel]', or "
            "leave the flag out"
        )
        raise ConfigError(msg) from error
    return Tracing()
