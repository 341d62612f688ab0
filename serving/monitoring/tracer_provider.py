"""Sets up OpenTelemetry's SDK from the `OTEL_*` variables.

The SDK itself reads the variables for sampler, resource, batches and each exporter's options. It
does not choose exporters; `opentelemetry-instrument` does. This module does it the same way: it
finds exporters by their packages' entry points.
"""

import os
from importlib import metadata

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from serving.errors import ConfigError
from serving.monitoring.identity import NAME

_EXPORTERS = "opentelemetry_traces_exporter"
_OTLP_EXPORTERS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


def from_environment() -> TracerProvider:
    """Return a tracer provider with the exporters that the environment names.

    Raises:
        ConfigError: the environment names an exporter that is not installed or cannot be set up.
    """
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: NAME}))
    processors = processors_of(os.environ.get("OTEL_TRACES_EXPORTER") or "otlp")
    # No atexit hook, which would have no time limit: `Tracing.stop` shuts the provider down.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


def processors_of(names: str) -> list[BatchSpanProcessor]:
    """Return a span processor for each exporter named in the value of OTEL_TRACES_EXPORTER.

    Raises:
        ConfigError: see `from_environment`.
    """
    protocol = (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    processors = []
    for name in filter(None, (name.strip() for name in names.split(","))):
        if name == "none":
            continue
        entry = _OTLP_EXPORTERS.get(protocol, protocol) if name == "otlp" else name
        points = metadata.entry_points(group=_EXPORTERS, name=entry)
        if not points:
            known = ", ".join(sorted(metadata.entry_points(group=_EXPORTERS).names))
            msg = (
                f"OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_PROTOCOL ask for the exporter "
                f"{entry!r}, expected none or an installed exporter: {known}; install the "
                "exporter's package, or choose one of these"
            )
            raise ConfigError(msg)
        try:
            processors.append(BatchSpanProcessor(next(iter(points)).load()()))
        except (ImportError, ValueError) as error:
            msg = f"the exporter {entry} cannot be set up from the OTEL_* variables: {error}"
            raise ConfigError(msg) from error
    return processors
