"""Tests of the export of spans: its end, its exporters, and a server without it."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from running import servers

from serving.client import PredictClient
from serving.errors import ConfigError
from serving.monitoring import tracer_provider

ROW = np.ones((1, 3), np.float32)
PREDICT = "tensorflow.serving.PredictionService/Predict"


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Run an OTLP collector over HTTP; yield its address and the requests it received."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Write no log lines."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "onnx-serving"),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=mine"}, "mine"),
    ],
)
def test_the_last_spans_are_exported_before_the_end(models_dir, variables, name):
    """SIGTERM exports the spans that wait for a batch, to the endpoint of the OTEL_* variables."""
    with collector() as (endpoint, received):
        variables = variables | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        }
        flags = ("--models_dir", str(models_dir), "--port", "0", "--enable_tracing")
        with servers.as_process(*flags, **variables) as server:
            port = server.wait_for(r"listening on \S+:(\d+)")[1]
            server.wait_for("ready: ")
            with PredictClient(f"127.0.0.1:{port}") as client:
                client.predict("identity", {"x": ROW})
            before = len(received)
            code = server.terminate()

    assert (code, before) == (0, 0)
    (resource,) = received[0].resource_spans
    attributes = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert attributes["service.name"] == name
    names = [span.name for scope in resource.scope_spans for span in scope.spans]
    assert names == ["queue", "compute", PREDICT]


def test_a_collector_that_hangs_does_not_keep_the_server(models_dir):
    """The export may take the rest of the drain time; then the server ends and logs the loss."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:  # accepts, never answers
        endpoint = f"http://127.0.0.1:{silent.server_port}"
        flags = ("--models_dir", str(models_dir), "--port", "0", "--drain_seconds", "1")
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
        with servers.as_process(*flags, "--enable_tracing", **variables) as server:
            port = server.wait_for(r"listening on \S+:(\d+)")[1]
            server.wait_for("ready: ")
            with PredictClient(f"127.0.0.1:{port}") as client:
                client.predict("identity", {"x": ROW})
            code = server.terminate()

    assert code == 0
    assert any("traces are lost" in line for line in server.log)


def run_python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_without_the_extra_the_start_stops_with_one_line(models_dir):
    """The last line of the start names the extra to install; the exit code is 2."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None\nfrom serving.__main__ import main; main()"
    )
    ended = run_python(code, "--models_dir", str(models_dir), "--port", "0", "--enable_tracing")

    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        "error: --enable_tracing is given, but OpenTelemetry is not installed; install "
        "the extra otel beside the server, from a checkout: pip install '.[serve,otel]', or leave "
        "the flag out"
    )
    assert "Traceback" not in ended.stderr


def test_off_imports_nothing(models_dir):
    """A server without the flag imports no module of OpenTelemetry or of serving's tracing."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from serving.settings.config import ServerConfig\n"
        "from serving.server import ModelServer\n"
        "ModelServer(ServerConfig(models_dir=Path(sys.argv[1])))\n"
        "names = ('opentelemetry', 'serving.monitoring.tracing')\n"
        "print([name for name in sys.modules if name.startswith(names)])"
    )
    ended = run_python(code, str(models_dir))

    assert ended.stdout == "[]\n"


def test_exporters_are_chosen_as_opentelemetry_does(monkeypatch):
    """Exporters are chosen by name or, for OTLP, by protocol; `none` chooses no exporter."""
    assert tracer_provider.processors_of("none") == []
    for value in ("otlp", "otlp_proto_http", "none, otlp"):
        (processor,) = tracer_provider.processors_of(value)
        assert type(processor.span_exporter).__name__ == "OTLPSpanExporter"
        processor.shutdown()


@pytest.mark.parametrize(
    ("exporters", "variables", "message"),
    [
        ("jaeger", {}, "ask for the exporter 'jaeger', expected none or an .* otlp_proto_http"),
        ("otlp", {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "the exporter 'http/json'"),
        ("otlp", {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "'otlp_proto_grpc'"),
        ("otlp", {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "0"}, "cannot be set up from the OTEL_"),
    ],
)
def test_variables_that_do_not_work_are_told(monkeypatch, exporters, variables, message):
    """The message names the unusable exporter and the available ones."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=message):
        tracer_provider.processors_of(exporters)
