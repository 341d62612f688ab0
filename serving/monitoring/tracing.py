"""OpenTelemetry traces: a span for each call, below it its wait for a worker and the model's run.

It wraps the rows of the method and route tables, so that calls without tracing pass through nothing
of this. Exporter, sampler, resource and propagators are those of the `OTEL_*` variables; a program
that has set a tracer provider of its own before gets its spans there.

Spans and attributes have the names of OpenTelemetry's semantic conventions, what these lack those
of the metrics. As they ask for, a call that failed by the caller's fault is no error of the server:
it has a status code and the exception, but only a fault of the server makes the span an error.
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
        """Set the SDK up as the `OTEL_*` variables say.

        Raises:
            ConfigError: they name an exporter that is not installed or cannot be made.
        """
        provider = trace.get_tracer_provider()
        self._is_own = not isinstance(provider, TracerProvider)
        self._provider = provider if isinstance(provider, TracerProvider) else from_environment()
        self._tracer = self._provider.get_tracer("serving", identity.version())

    def methods(self, methods: Iterable[Method]) -> list[Method]:
        """Methods whose calls are traced; health checks and streams stay as they are."""
        return [
            self._traced_method(method)
            if isinstance(method, UnaryMethod) and method.traced
            else method
            for method in methods
        ]

    def routes(self, routes: Iterable[Route]) -> list[Route]:
        """Routes whose requests are traced; health checks stay as they are."""
        return [self._traced_route(route) if route.traced else route for route in routes]

    async def stop(self, seconds: float) -> None:
        """Export what is left, for so many seconds at most."""
        finish = self._provider.shutdown if self._is_own else self._provider.force_flush
        # A thread that may be left behind: an exporter without a collector tries for long.
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
        """The span of one call; an error that passes through becomes its status.

        Args:
            name: Of the span.
            headers: Of the call; they may name a parent.
            attributes: Known from the start.
            status_key: Attribute for the status of a call that failed, in its protocol's numbers.
        """
        parent = propagate.extract(headers, getter=_GETTER)
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        times = stage_times.CURRENT.get()
        if times is None or times.queued is not None:  # nobody asked, or it is another request's
            times = StageTimes()
        token = stage_times.CURRENT.set(times)
        try:
            yield span
        except BaseException as error:
            code = _code_of(error)
            http_status = HTTP_STATUS.get(code, 500)
            span.set_attribute(status_key, int(code) if status_key == _GRPC_STATUS else http_status)
            span.record_exception(error)
            if http_status >= 500:  # the same codes that the conventions for gRPC call errors
                span.set_attribute("error.type", code.name)
                span.set_status(Status(trace.StatusCode.ERROR, str(error)))
            raise
        finally:
            stage_times.CURRENT.reset(token)
            if span.is_recording():
                self._add_stages(span, times)
            span.end()

    def _add_stages(self, span: Span, times: StageTimes) -> None:
        """Note who ran a call, and make its stages spans of their own."""
        if times.queued is None:
            return
        name, _, version = times.servable.rpartition("/")
        _note_model(span, name, version, times.signature_name)
        epoch_seconds = time.time() - time.monotonic()
        context = trace.set_span_in_context(span)
        # A call that was given up has waited until now.
        started = time.monotonic() if times.started is None else times.started
        stages = {"queue": (times.queued, started)}
        if times.ended is not None:
            stages["compute"] = (started, times.ended)
        for stage, (begin, end) in stages.items():
            begin_ns, end_ns = (int(1e9 * (epoch_seconds + point)) for point in (begin, end))
            child = self._tracer.start_span(stage, context, start_time=begin_ns)
            child.end(end_ns)


class _HeaderGetter(Getter[Mapping[bytes, bytes]]):
    """Reads headers for the propagators."""

    def get(self, carrier: Mapping[bytes, bytes], key: str) -> list[str] | None:
        value = carrier.get(key.lower().encode())
        return None if value is None else [value.decode("latin-1")]

    def keys(self, carrier: Mapping[bytes, bytes]) -> list[str]:
        return [key.decode("latin-1") for key in carrier]


_GETTER = _HeaderGetter()


def template_of(pattern: re.Pattern[str]) -> str:
    """A route's pattern as people write it: `/v1/models/{name}[/versions/{version}]:predict`."""
    text = re.sub(r"\(\?P<(\w+)>[^()]*\)", r"{\1}", pattern.pattern)
    text = re.sub(r"\((?:\?:)?([^()]*)\)\?", r"[\1]", text)
    return re.sub(r"\(\?i:([^()]*)\)", r"\1", text).removesuffix("/?")


def _code_of(error: BaseException) -> StatusCode:
    if isinstance(error, ServingError):
        return error.code
    is_cancelled = isinstance(error, asyncio.CancelledError)
    return StatusCode.CANCELLED if is_cancelled else StatusCode.INTERNAL


def _model_of(request: Any) -> tuple[str, str, str]:  # noqa: ANN401 - any message
    """Model, version and signature that a message asks for; empty where it does not say."""
    tasks = getattr(request, "tasks", None)
    spec = getattr(tasks[0] if tasks else request, "model_spec", None)
    if spec is not None:
        version = str(spec.version.value) if spec.HasField("version") else ""
        return spec.name, version, spec.signature_name
    for prefix in ("model_", ""):  # of KServe's ModelInfer, and of its ModelMetadata
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
