import socket
from collections.abc import Iterator
from http.client import HTTPConnection

import grpc
import numpy as np
import pytest
from calling.rest_client import Http
from grpc_health.v1 import health_pb2
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from running import servers

from serving.client import PredictClient, PredictError, predict_request
from serving.protos import kserve_pb2
from serving.protos.tensorflow_serving_pb2 import MultiInferenceRequest

ROW = np.ones((1, 3), np.float32)
ONE = {"instances": [[1, 2, 3]]}
PREDICT = "tensorflow.serving.PredictionService/Predict"
REST_PREDICT = "POST /v1/models/{name}[/versions/{version}|/labels/{label}]:predict"
TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
PARENT = f"00-{TRACE_ID:032x}-b7ad6b7169203331-01"
UNSAMPLED = f"00-{TRACE_ID:032x}-b7ad6b7169203331-00"
IDENTITY = {
    "onnx_serving.model_name": "identity",
    "onnx_serving.model_version": "1",
    "onnx_serving.signature_name": "serving_default",
}


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Gets the spans of every server of this process that traces."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture(scope="module", params=["asgi", "grpcio"])
def front(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def rest_address() -> str:
    """Return the server's REST address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(scope="module")
def address(models_dir, exporter, front, rest_address) -> Iterator[str]:
    """Address of a tracing server, on each front."""
    rest_port = int(rest_address.rpartition(":")[2])
    settings = {"front": front, "rest_api_port": rest_port, "enable_tracing": True}
    with servers.in_this_process(models_dir, **settings) as address:
        yield address


@pytest.fixture
def spans(address, exporter) -> InMemorySpanExporter:
    """Return the exporter after clearing it."""
    exporter.clear()
    return exporter


def server_span(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = [span for span in spans.get_finished_spans() if span.kind is SpanKind.SERVER]
    return span


def stages(spans: InMemorySpanExporter, parent: ReadableSpan) -> dict[str, ReadableSpan]:
    finished = [span for span in spans.get_finished_spans() if span.kind is SpanKind.INTERNAL]
    assert all(span.parent == parent.context for span in finished)
    return {span.name: span for span in finished}


def assert_stages_lie_within(spans: InMemorySpanExporter, parent: ReadableSpan) -> None:
    found = stages(spans, parent)
    assert list(found) == ["queue", "compute"]
    queue, compute = found["queue"], found["compute"]
    margin = 100_000  # nanoseconds: another clock timed the stages
    assert parent.start_time - margin <= queue.start_time <= queue.end_time
    assert queue.end_time == compute.start_time
    assert compute.start_time < compute.end_time <= parent.end_time + margin


def call(address: str, method: str, request: object, **metadata: str) -> bytes:
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(f"/{method}")
        named = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        return ask(request.SerializeToString(), timeout=10, metadata=named)


def test_a_grpc_call_is_a_span_with_its_stages(address, spans):
    """The span is named by OpenTelemetry's conventions; queue and compute lie within it."""
    call(address, PREDICT, predict_request("identity", {"x": ROW}))

    span = server_span(spans)
    assert span.name == PREDICT
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope.name == "serving"
    assert dict(span.attributes) == IDENTITY | {
        "rpc.system": "grpc",
        "rpc.service": "tensorflow.serving.PredictionService",
        "rpc.method": "Predict",
        "rpc.grpc.status_code": 0,
    }
    assert_stages_lie_within(spans, span)


def test_a_rest_request_is_a_span_with_its_stages(address, rest_address, spans):
    """The span is named by its route, the same for all models and versions."""
    status, _ = Http(rest_address).post("/v1/models/identity/versions/1:predict", ONE)

    span = server_span(spans)
    assert status == 200
    assert span.name == REST_PREDICT
    assert dict(span.attributes) == IDENTITY | {
        "http.request.method": "POST",
        "http.route": REST_PREDICT.removeprefix("POST "),
        "http.response.status_code": 200,
    }
    assert_stages_lie_within(spans, span)


def test_kserve_calls_are_spans_too(address, rest_address, spans):
    """KServe calls over gRPC and REST have spans with the model that answered."""
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32"}
    request = kserve_pb2.ModelInferRequest(model_name="identity")
    request.inputs.add(**tensor).contents.fp32_contents.extend([1, 2, 3])
    call(address, "inference.GRPCInferenceService/ModelInfer", request)
    over_grpc = server_span(spans)
    spans.clear()
    body = {"inputs": [tensor | {"data": [1, 2, 3]}]}
    Http(rest_address).post("/v2/models/identity/infer", body)
    over_rest = server_span(spans)

    assert over_grpc.name == "inference.GRPCInferenceService/ModelInfer"
    assert over_rest.name == "POST /v2/models/{name}[/versions/{version}]/infer"
    assert over_grpc.attributes.items() >= IDENTITY.items()
    assert over_rest.attributes.items() >= IDENTITY.items()


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_the_callers_span_is_the_parent(address, rest_address, spans, protocol):
    """A `traceparent` in metadata or headers makes the span part of the caller's trace."""
    if protocol == "grpc":
        call(address, PREDICT, predict_request("identity", {"x": ROW}), traceparent=PARENT)
    else:
        Http(rest_address).post("/v1/models/identity:predict", ONE, traceparent=PARENT)

    span = server_span(spans)
    assert span.context.trace_id == TRACE_ID
    assert span.parent.span_id == 0xB7AD6B7169203331
    assert span.parent.is_remote
    assert stages(spans, span)["compute"].context.trace_id == TRACE_ID


def test_the_caller_decides_on_sampling(address, spans):
    """By the SDK's default sampler, a call whose trace is not sampled has no span."""
    call(address, PREDICT, predict_request("identity", {"x": ROW}), traceparent=UNSAMPLED)

    assert spans.get_finished_spans() == ()


def test_the_callers_fault_is_no_error_of_the_server(address, rest_address, spans):
    """The span has the status code and the exception; its span status stays UNSET."""
    with pytest.raises(grpc.RpcError):
        call(address, PREDICT, predict_request("nope", {"x": ROW}, version=7))
    over_grpc = server_span(spans)
    spans.clear()
    Http(rest_address).post("/v1/models/nope/versions/7:predict", ONE)
    over_rest = server_span(spans)

    assert over_grpc.attributes["rpc.grpc.status_code"] == 5
    assert over_rest.attributes["http.response.status_code"] == 404
    for span in (over_grpc, over_rest):
        assert span.status.status_code is StatusCode.UNSET
        assert span.attributes["onnx_serving.model_name"] == "nope"
        assert span.attributes["onnx_serving.model_version"] == "7"
        (event,) = span.events
        assert event.name == "exception"
        assert event.attributes["exception.message"].startswith("Servable not found")


def test_a_fault_of_the_model_is_an_error(address, rest_address, spans):
    """The span has status ERROR and error.type, and still its queue and compute stages."""
    with PredictClient(address) as client, pytest.raises(PredictError):
        client.predict("fragile", {"shape": np.array([7], np.int64)})
    over_grpc = server_span(spans)
    assert_stages_lie_within(spans, over_grpc)
    spans.clear()
    Http(rest_address).post("/v1/models/fragile:predict", {"inputs": [7]})
    over_rest = server_span(spans)

    assert over_grpc.attributes["rpc.grpc.status_code"] == 13
    assert over_rest.attributes["http.response.status_code"] == 500
    for span in (over_grpc, over_rest):
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "INTERNAL"
        assert span.attributes["onnx_serving.model_name"] == "fragile"


def test_a_call_of_several_tasks_is_named_by_the_first(address, spans):
    """A MultiInference span has the model of the first task; all tasks name the same model."""
    request = MultiInferenceRequest()
    request.tasks.add().model_spec.name = "brightness"
    with pytest.raises(grpc.RpcError):
        call(address, "tensorflow.serving.PredictionService/MultiInference", request)

    assert server_span(spans).attributes["onnx_serving.model_name"] == "brightness"


def test_a_call_that_is_given_up_has_waited(models_dir, exporter):
    """A call that times out in the queue has a queue span and no compute span."""
    settings = {"rest_api_timeout_in_ms": 50, "batch_timeout_micros": 1_000_000}
    with servers.in_this_process(models_dir, enable_tracing=True, **settings) as address:
        exporter.clear()
        status, _ = Http(address).post("/v1/models/identity:predict", ONE)

    span = server_span(exporter)
    assert status == 504
    assert span.attributes["error.type"] == "DEADLINE_EXCEEDED"
    assert list(stages(exporter, span)) == ["queue"]


def test_health_checks_and_metrics_are_not_traced(address, rest_address, spans):
    """Health checks over gRPC and REST of every API, and the metrics page, have no spans."""
    service = "inference.GRPCInferenceService"
    call(address, "grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest())
    call(address, f"{service}/ServerLive", kserve_pb2.ServerLiveRequest())
    call(address, f"{service}/ServerReady", kserve_pb2.ServerReadyRequest())
    call(address, f"{service}/ModelReady", kserve_pb2.ModelReadyRequest(name="identity"))
    paths = ("/healthz", "/readyz", "/monitoring/prometheus/metrics", "/v2/health/live")
    paths += ("/v2/health/ready", "/v2/models/identity/ready")
    statuses = [Http(rest_address).ask("GET", path)[0] for path in paths]

    assert statuses == [200] * len(paths)
    assert spans.get_finished_spans() == ()


def test_other_calls_have_spans_without_stages(address, rest_address, spans):
    """Metadata requests run no model: their spans have no queue or compute stage."""
    Http(rest_address).get("/v1/models/identity/metadata")
    request = kserve_pb2.ModelMetadataRequest(name="identity", version="1")
    call(address, "inference.GRPCInferenceService/ModelMetadata", request)

    over_rest, over_grpc = spans.get_finished_spans()
    assert over_rest.name == ("GET /v1/models/{name}[/versions/{version}|/labels/{label}]/metadata")
    assert over_rest.attributes["onnx_serving.model_name"] == "identity"
    assert over_grpc.attributes["onnx_serving.model_version"] == "1"


def test_requests_of_one_connection_keep_their_own_times(address, rest_address, spans):
    """Stage times are not carried over to the next request on one connection; both are traced.

    Only the first request asks for its times, and only that one is told.
    """
    connection = HTTPConnection(rest_address, timeout=30)
    told = []
    for headers in ({"x-server-timing": "1"}, {}):
        connection.request(
            "POST", "/v1/models/identity:predict", b'{"instances":[[1,2,3]]}', headers
        )
        response = connection.getresponse()
        response.read()
        told.append(response.getheader("server-timing") is not None)
    connection.close()

    assert told == [True, False]
    finished = spans.get_finished_spans()
    assert [span.name for span in finished] == ["queue", "compute", REST_PREDICT] * 2
    for number in (0, 3):
        queue, _, span = finished[number : number + 3]
        assert queue.parent == span.context
        assert queue.start_time >= span.start_time - 100_000
