"""OpenTelemetry traces: a span for each call, with child spans for its queue time and model run.

`Tracing` wraps the handlers in the method and route tables, so that no tracing code runs in calls
if tracing is off. The `OTEL_*` variables choose exporter, sampler, resource and propagators. If the
program has already set a tracer provider, the spans go to that provider instead.

Spans and attributes have the names of OpenTelemetry's semantic conventions, or else those of the
metrics. As the conventions require, a span has the status "error" only if the server is at fault.
The span of a call that failed by the caller's fault has the status code and the exception only.
"""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, Status

from serving import stage_times
from serving.errors import ServingError, StatusCode
from serving.monitoring import identity
from serving.monitoring.tracer_provider import from_environment
from serving.stage_times import StageTimes
from serving.transport.failures import HTTP_STATUS
from serving.transport.method_table import Call, Method, Response, UnaryMethod
from serving.transport.route_table import HttpRequest, HttpResponse, Route

logger = logging.getLogger(__name__)

_GRPC_STATUS = "rpc.grpc.status_code"
_HTTP_STATUS = "http.response.status_code"


class Tracing:
    """Wraps handlers so that each of their calls becomes a span."""

    def __init__(self) -> None:
        """Use the program's tracer provider, or set the SDK up from the `OTEL_*` variables.

        Raises:
            ConfigError: the variables name an exporter that is not installed or cannot be set up.
        """
        provider = trace.get_tracer_provider()
        self._is_own = not isinstance(provider, TracerProvider)
        self._provider = provider if isinstance(provider, TracerProvider) else from_environment()
        self._tracer = self._provider.get_tracer("serving", identity.version())

    def methods(self, methods: Iterable[Method]) -> list[Method]:
        """Return the methods wrapped with tracing; health checks and streams are left unchanged."""
        return [
            self._traced_method(method)
            if isinstance(method, UnaryMethod) and method.traced
            else method
            for method in methods
        ]

    def routes(self, routes: Iterable[Route]) -> list[Route]:
        """Return the routes wrapped with tracing; health checks are left unchanged."""
        return [self._traced_route(route) if route.traced else route for route in routes]

    async def stop(self, seconds: float) -> None:
        """Export the remaining spans, for at most `seconds`."""
        finish = self._provider.shutdown if self._is_own else self._provider.force_flush
        # A daemon thread, because an exporter that finds no collector retries for long: the thread
        # may outlive this call.
        thread = threading.Thread(target=finish, name="tracing-stop", daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, seconds)
        if thread.is_alive():
            logger.warning("traces are lost: the exporter did not finish within %.1f s", seconds)

    def _traced_method(self, method: UnaryMethod[Any]) -> Method:
        handler = method.handler
        service, _, name = method.path[1:].rpartition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}

        async def handle(request: Any, call: Call) -> Response:  # noqa: ANN401 - any message
            with self._span(method.path[1:], call.headers, attributes, _GRPC_STATUS) as span:
                _note_model(span, *_model_of(request))
                response = await handler(request, call)
                span.set_attribute(_GRPC_STATUS, int(StatusCode.OK))
                return response

        return replace(method, handler=handle)

    def _traced_route(self, route: Route) -> Route:
        handler = route.handler
        template = template_of(route.pattern)
        attributes = {"http.request.method": route.method, "http.route": template}

        async def handle(request: HttpRequest) -> HttpResponse:
            name = f"{route.method} {template}"
            with self._span(name, request.headers, attributes, _HTTP_STATUS) as span:
                parameters = request.parameters
                _note_model(span, parameters.get("name"), parameters.get("version"))
                response = await handler(request)
                span.set_attribute(_HTTP_STATUS, response.status)
                return response

        return replace(route, handler=handle)

    @contextmanager
    def _span(
        self,
        name: str,
        headers: Mapping[bytes, bytes],
        attributes: Mapping[str, str],
        status_key: str,
    ) -> Iterator[Span]:
        """Open the span of one call; an error raised inside determines the span's status.

        Args:
            name: Name of the span.
            headers: Headers of the call; they may name a parent span.
            attributes: Attributes that are known from the start.
            status_key: Name of the attribute for the status of a failed call: the gRPC code or the
                HTTP status.

        Yields:
            The span.
        """
        parent = propagate.extract(headers, getter=_GETTER)
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        times = stage_times.CURRENT.get()
        # None: the caller did not ask for timings. Already queued: HTTP keep-alive left the
        # StageTimes of the connection's previous request in this context.
        if times is None or times.queued is not None:
            times = StageTimes()
        token = stage_times.CURRENT.set(times)
        try:
            yield span
        except BaseException as error:
            code = _code_of(error)
            http_status = HTTP_STATUS.get(code, 500)
            span.set_attribute(status_key, int(code) if status_key == _GRPC_STATUS else http_status)
            span.record_exception(error)
            if http_status >= 500:  # for gRPC, the conventions list the same codes as errors
                span.set_attribute("error.type", code.name)
                span.set_status(Status(trace.StatusCode.ERROR, str(error)))
            raise
        finally:
            stage_times.CURRENT.reset(token)
            if span.is_recording():
                self._add_stages(span, times)
            span.end()

    def _add_stages(self, span: Span, times: StageTimes) -> None:
        """Add the model to a call's span, and add child spans for its queue time and run."""
        if times.queued is None:
            return
        name, _, version = times.servable.rpartition("/")
        _note_model(span, name, version, times.signature_name)
        epoch_seconds = time.time() - time.monotonic()
        context = trace.set_span_in_context(span)
        # A call that ended before its run has waited until now.
        started = time.monotonic() if times.started is None else times.started
        stages = {"queue": (times.queued, started)}
        if times.ended is not None:
            stages["compute"] = (started, times.ended)
        for stage, (begin, end) in stages.items():
            begin_ns, end_ns = (int(1e9 * (epoch_seconds + point)) for point in (begin, end))
            child = self._tracer.start_span(stage, context, start_time=begin_ns)
            child.end(end_ns)


class _HeaderGetter(Getter[Mapping[bytes, bytes]]):
    """Gives OpenTelemetry's propagators access to the headers of a call."""

    def get(self, carrier: Mapping[bytes, bytes], key: str) -> list[str] | None:
        value = carrier.get(key.lower().encode())
        return None if value is None else [value.decode("latin-1")]

    def keys(self, carrier: Mapping[bytes, bytes]) -> list[str]:
        return [key.decode("latin-1") for key in carrier]


_GETTER = _HeaderGetter()


def template_of(pattern: re.Pattern[str]) -> str:
    """Return a route's pattern as a template: `/v1/models/{name}[/versions/{version}]:predict`."""
    text = re.sub(r"\(\?P<(\w+)>[^()]*\)", r"{\1}", pattern.pattern)
    text = re.sub(r"\((?:\?:)?([^()]*)\)\?", r"[\1]", text)
    return re.sub(r"\(\?i:([^()]*)\)", r"\1", text).removesuffix("/?")


def _code_of(error: BaseException) -> StatusCode:
    if isinstance(error, ServingError):
        return error.code
    is_cancelled = isinstance(error, asyncio.CancelledError)
    return StatusCode.CANCELLED if is_cancelled else StatusCode.INTERNAL


def _model_of(request: Any) -> tuple[str, str, str]:  # noqa: ANN401 - any message
    """Return the model, version and signature that a request names; empty if it names none."""
    tasks = getattr(request, "tasks", None)
    spec = getattr(tasks[0] if tasks else request, "model_spec", None)
    if spec is not None:
        version = str(spec.version.value) if spec.HasField("version") else ""
        return spec.name, version, spec.signature_name
    for prefix in ("model_", ""):  # the fields of KServe's ModelInfer, and of its ModelMetadata
        if hasattr(request, f"{prefix}name") and hasattr(request, f"{prefix}version"):
            return getattr(request, f"{prefix}name"), getattr(request, f"{prefix}version"), ""
    return "", "", ""


def _note_model(
    span: Span, name: str | None, version: str | None = "", signature_name: str | None = ""
) -> None:
    values = {"model_name": name, "model_version": version, "signature_name": signature_name}
    for key, value in values.items():
        if value:
            span.set_attribute(f"onnx_serving.{key}", value)
