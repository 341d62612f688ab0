"""The services: all gRPC methods and HTTP routes of a server, built from its settings."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from serving.access.roles import Role
from serving.engine.machine import available_cores
from serving.engine.manager import Manager
from serving.errors import ConfigError, PermissionDenied, ServingError, Unsupported
from serving.inference.classify_regress import ClassifyRegress
from serving.inference.predictor import Predictor
from serving.monitoring.counts import Metrics
from serving.monitoring.metered_methods import metered
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
from serving.protocols.probe_routes import MetricsText, Probes
from serving.protocols.reflection_methods import Reflection
from serving.protocols.start_page import StartPage
from serving.protocols.tfs.classify_methods import ClassifyMethods
from serving.protocols.tfs.classify_routes import ClassifyRoutes
from serving.protocols.tfs.model_methods import MODEL_SERVICE, ModelMethods
from serving.protocols.tfs.predict_methods import PREDICTION_SERVICE, PredictMethods
from serving.protocols.tfs.predict_routes import PredictRoutes
from serving.settings.config import ServerConfig
from serving.transport.method_table import Call, Method, UnaryMethod, method_table
from serving.transport.route_table import HttpRequest, Route

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


_SWITCHED_OFF = (
    "this server does not change its models by a call (--enable_reload_rpc=false); change its "
    "--model_config_file or its folders instead"
)
_ELSEWHERE = (
    "this method is answered only by the server's admin listener (--admin_address), which other "
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
        metrics_text: MetricsText,
        statistics: Statistics,
        repository: FindModels | None,
        is_ready: Callable[[], bool],
    ) -> None:
        """Build the tables.

        Args:
            config: The settings.
            manager: The manager of the models.
            metrics: Counts calls, unless the settings switch the metrics off.
            metrics_text: Returns the metrics page.
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
        counted = statistics if metrics_path else None
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
        methods = [
            *(metered(tensorflow_serving, metrics) if metrics_path else tensorflow_serving),
            *KServeMethods(kserve, raw_answers=config.kserve_raw_answers).methods(),
            *ManagementMethods(management, models).methods(),
            *self._health.methods(),
            *Reflection(
                [PREDICTION_SERVICE, MODEL_SERVICE, KSERVE_SERVICE, HEALTH_SERVICE]
            ).methods(),
        ]
        probes = Probes(self._health, manager.catalog, metrics_text, metrics_path=metrics_path)
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
            *KServeRoutes(kserve, self._json, timeout_in_ms=timeout_in_ms).routes(),
            *ManagementRoutes(management, models).routes(),
            *probes.routes(),
            *StartPage(manager.catalog, metrics_path=metrics_path).routes(),
        ]
        if self._tracing is not None:
            methods, routes = self._tracing.methods(methods), self._tracing.routes(routes)
        if not config.enable_reload_rpc:
            refusal = Unsupported(_SWITCHED_OFF)
            methods = _without_admin(methods, refusal)
            routes = _without_admin_routes(routes, refusal)
        self.admin_methods, self.admin_routes = method_table(methods), routes
        if config.admin_address and config.enable_reload_rpc:
            elsewhere = PermissionDenied(_ELSEWHERE)
            methods = _without_admin(methods, elsewhere)
            routes = _without_admin_routes(routes, elsewhere)
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


def _without_admin(methods: Iterable[Method], refusal: ServingError) -> list[Method]:
    """Return the methods; each of role admin answers with an error instead of being run."""

    async def refuse(_request: Any, _call: Call) -> NoReturn:  # noqa: ANN401 - any message
        raise refusal

    return [
        replace(method, handler=refuse)
        if isinstance(method, UnaryMethod) and method.role is Role.ADMIN
        else method
        for method in methods
    ]


def _without_admin_routes(routes: Iterable[Route], refusal: ServingError) -> list[Route]:
    """Return the routes; each of role admin answers with an error instead of being run."""

    async def refuse(_request: HttpRequest) -> NoReturn:
        raise refusal

    return [
        replace(route, handler=refuse) if route.role is Role.ADMIN else route for route in routes
    ]


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
