import asyncio
import contextlib
import re
from functools import partial

import numpy as np
import pytest
from calling.rest_client import Http
from running import servers
from sample_models import tiny_models
from sample_results.metrics_pages import ONE, PATH, ROW, TFS, Page, counted_manager, scrape

from serving.access.roles import Role
from serving.client import PredictClient, PredictError
from serving.engine.catalog import Catalog
from serving.monitoring.counts import UNKNOWN_MODEL, Metrics
from serving.monitoring.metered_methods import metered
from serving.monitoring.metrics_page import MetricsPage
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    GetModelStatusRequest,
)
from serving.repository.model_config import find_models
from serving.transport.method_table import Call, UnaryMethod

ANY_PATH = "/v1/models/identity:predict"


@pytest.fixture(scope="module")
def page(models_dir) -> Page:
    """The page of a server after known traffic.

    identity: two accepted calls with three rows over gRPC, one accepted call over REST, one refused
    call on each. brightness: five calls of one row over gRPC. Two calls ask for models that do not
    exist.
    """
    with servers.in_this_process(models_dir) as address:
        rest = Http(address)
        with PredictClient(address) as client:
            client.predict("identity", {"x": ROW})
            client.predict("identity", {"x": np.ones((2, 3), np.float32)})
            for _ in range(5):
                client.predict("brightness", {"images": np.zeros((1, 32, 32, 3), np.uint8)})
            for model, inputs in (("identity", {}), ("nope", {}), ("nope too", {})):
                with pytest.raises(PredictError):
                    client.predict(model, inputs)
        assert rest.post(ANY_PATH, ONE)[0] == 200
        assert rest.post(ANY_PATH, {"instances": [[1]]})[0] == 400
        return scrape(address)


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        (f"{TFS}request_count", {"model_name": "identity", "status": "OK"}, 3),
        (f"{TFS}request_count", {"model_name": "identity", "status": "INVALID_ARGUMENT"}, 2),
        (f"{TFS}request_count", {"model_name": "brightness", "status": "OK"}, 5),
        (f"{TFS}request_count", {"model_name": "add", "status": "OK"}, 0),
        (f"{TFS}request_count", {"model_name": "unknown", "status": "NOT_FOUND"}, 2),
        (
            f"{TFS}request_latency_count",
            {"model_name": "identity", "API": "Predict", "entrypoint": "GRPC"},
            2,
        ),
        (
            f"{TFS}request_latency_count",
            {"model_name": "identity", "API": "Predict", "entrypoint": "REST"},
            1,
        ),
        (
            f"{TFS}runtime_latency_count",
            {"model_name": "identity", "API": "Predict", "runtime": "ONNXRuntime"},
            3,
        ),
        (f"{TFS}model_warmup_latency_count", {"model_path": "identity/1", "status": "OK"}, 1),
        (f"{TFS}batching_session:queuing_latency_count", {"thread_pool_name": "identity"}, 3),
        (f"{TFS}batching_session:wrapped_run_count", {"model_name": "identity"}, 3),
        (f"{TFS}batching_session:input_batch_size_sum", {"model_name": "identity"}, 4),
        (f"{TFS}batching_session:processed_batch_size_sum", {"model_name": "identity"}, 4),
        (f"{TFS}batching_session:padding_size_sum", {"model_name": "identity"}, 0),
        (f"{TFS}batching_session:padding_size_count", {"model_name": "identity"}, 3),
        (
            "onnx_serving_failures_total",
            {
                "model_name": "identity",
                "API": "Predict",
                "entrypoint": "REST",
                "status": "INVALID_ARGUMENT",
            },
            1,
        ),
        ("onnx_serving_requests_in_flight", {}, 0),
        (
            "onnx_serving_model_state",
            {"model_name": "add", "version": "1", "state": "AVAILABLE"},
            1,
        ),
    ],
)
def test_known_traffic_is_counted(page, name, labels, value):
    """The page has TensorFlow Serving's series with its labels, and this server's own series."""
    assert page.value(name, **labels) == value


def test_our_series_tell_version_signature_and_device(page):
    """This server's own series have labels for version, signature, device and precision."""
    version = {"model_name": "brightness", "version": "1", "device": "cpu", "precision": "fp32"}
    signature = version | {"signature_name": "serving_default"}

    assert page.value("onnx_serving_rows_total", **signature) == 5
    assert page.value("onnx_serving_run_duration_seconds_count", **signature) == 5
    assert page.value("onnx_serving_queue_duration_seconds_count", **signature) == 5
    assert page.value("onnx_serving_queued_requests", **version) == 0
    assert page.value("onnx_serving_rows_in_progress", **version) == 0
    labels = signature | {"API": "Predict", "entrypoint": "GRPC"}
    assert page.value("onnx_serving_request_duration_seconds_count", **labels) == 5


def test_a_request_takes_longer_than_its_run(page):
    """A request takes longer than its run; TensorFlow Serving's sums are in microseconds."""
    request = page.value(
        f"{TFS}request_latency_sum", model_name="brightness", API="Predict", entrypoint="GRPC"
    )
    run = page.value(
        f"{TFS}runtime_latency_sum", model_name="brightness", API="Predict", runtime="ONNXRuntime"
    )
    seconds = page.value(
        "onnx_serving_run_duration_seconds_sum",
        model_name="brightness",
        version="1",
        device="cpu",
        precision="fp32",
        signature_name="serving_default",
    )

    assert 0 < run < request
    assert run == pytest.approx(1e6 * seconds)


def test_the_buckets_are_tensorflow_servings(page):
    """There are 33 limits from 10 µs, each 1.8 times the previous, with six digits, then +Inf."""
    lines = re.findall(
        rf'{TFS}request_latency_bucket\{{model_name="brightness",.*,le="(.*)"\}} (\d+)', page.text
    )
    limits, counts = [limit for limit, _ in lines], [int(count) for _, count in lines]

    assert len(limits) == 34
    assert limits[:6] == ["10", "18", "32.4", "58.32", "104.976", "188.957"]
    assert limits[-1] == "+Inf"
    assert counts == sorted(counts)
    assert counts[-1] == 5


def test_counters_are_declared_by_the_names_they_have(page):
    """TensorFlow Serving's counters are declared as counters under the names of their samples."""
    assert f"# TYPE {TFS}request_count counter\n" in page.text
    assert f"# TYPE {TFS}batching_session:wrapped_run_count counter\n" in page.text
    assert f"# TYPE {TFS}request_latency histogram\n" in page.text
    assert "# TYPE process_cpu_seconds_total counter\n" in page.text


def test_the_limit_of_the_queue_is_shown(models_dir):
    """Each version has the limit of the rows that wait or run, as --max_enqueued_rows sets it."""
    with servers.in_this_process(models_dir, max_enqueued_rows=77) as address:
        page = scrape(address)

    labels = {"model_name": "identity", "version": "1", "device": "cpu", "precision": "fp32"}
    assert page.value("onnx_serving_max_enqueued_rows", **labels) == 77


def test_the_page_says_what_the_server_is(page):
    """The page names the versions and the provider as labels and has process metrics."""
    (build,) = page.labels("onnx_serving_build_info")

    assert sorted(build) == ["onnxruntime_version", "provider", "version"]
    assert build["provider"] == "CPUExecutionProvider"
    assert page.value("process_resident_memory_bytes") > 1e6


@pytest.mark.parametrize(
    ("text", "path", "statuses"),
    [
        ("prometheus_config { enable: true path: '/elsewhere' }", "/elsewhere", (200, 404)),
        ("prometheus_config { enable: false }", PATH, (404, 404)),
    ],
)
def test_the_page_can_be_moved_and_switched_off(tmp_path, models_dir, text, path, statuses):
    """--monitoring_config_file moves the page or turns it off; predictions work in both cases."""
    file = tmp_path / "monitoring.txt"
    file.write_text(text)
    with servers.in_this_process(models_dir, monitoring_config_file=file) as address:
        rest = Http(address)
        other = PATH if path != PATH else "/elsewhere"
        answered = (rest.ask("GET", path)[0], rest.ask("GET", other)[0])
        predicted = rest.post(ANY_PATH, ONE)[0]
        with PredictClient(address) as client:
            client.predict("identity", {"x": ROW})

    assert answered == statuses
    assert predicted == 200


def test_examples_are_counted(tmp_path):
    """Classify counts the examples it answers; GetModelStatus is not wrapped."""
    tiny_models.identity(tmp_path)
    texts = []

    async def classify(_request: ClassificationRequest, _call: Call) -> ClassificationResponse:
        response = ClassificationResponse()
        response.model_spec.name = "identity"
        response.model_spec.version.value = 1
        response.model_spec.signature_name = "serving_default"
        for _ in range(3):
            response.result.classifications.add()
        return response

    async def serve() -> None:
        manager, metrics = counted_manager(partial(find_models, tmp_path))
        await manager.start()
        methods = [
            UnaryMethod(
                path="/s/Classify",
                request_type=ClassificationRequest,
                handler=classify,
                role=Role.PREDICT,
            ),
            UnaryMethod(
                path="/s/Status",
                request_type=GetModelStatusRequest,
                handler=classify,
                role=Role.PREDICT,
            ),
        ]
        counted, left_alone = metered(methods, metrics)
        for _ in range(2):
            await counted.handler(ClassificationRequest(), Call())
        texts.append(MetricsPage(metrics, provider="x").text().decode())
        await manager.close()
        assert left_alone is methods[1]

    asyncio.run(serve())

    page = Page(texts[0])
    assert page.value(f"{TFS}request_example_count_total", model="identity") == 6
    assert page.value(f"{TFS}request_example_counts_bucket", model="identity", le="2") == 0
    assert page.value(f"{TFS}request_example_counts_bucket", model="identity", le="4") == 2
    labels = {"model_name": "identity", "API": "Classify", "entrypoint": "GRPC"}
    assert page.value(f"{TFS}request_latency_count", **labels) == 2


def test_padding_is_counted_apart(models_dir, tmp_path):
    """Three rows run as a batch of four: processed size 4, padding 1, rows served 3."""
    file = tmp_path / "batching.txt"
    file.write_text("max_batch_size { value: 4 } allowed_batch_sizes: 4")
    with servers.in_this_process(models_dir, batching_parameters_file=file) as address:
        with PredictClient(address) as client:
            client.predict("identity", {"x": np.ones((3, 3), np.float32)})
        page = scrape(address)

    sizes = {
        name: page.value(f"{TFS}batching_session:{name}_sum", model_name="identity")
        for name in ("input_batch_size", "processed_batch_size", "padding_size")
    }
    assert sizes == {"input_batch_size": 3, "processed_batch_size": 4, "padding_size": 1}
    (rows,) = [
        labels
        for labels in page.labels("onnx_serving_rows_total")
        if labels["model_name"] == "identity"
    ]
    assert page.value("onnx_serving_rows_total", **rows) == 3


def test_requests_in_flight_are_those_not_yet_answered(tmp_path):
    """The gauge rises when a request begins and falls when it ends, also after an error."""
    metrics = Metrics(Catalog())
    seen = []
    with metrics.request("m", "Predict", "REST"):
        with contextlib.suppress(ValueError), metrics.request("m", "Predict", "REST"):
            seen.append(metrics.in_flight)
            raise ValueError
        seen.append(metrics.in_flight)

    assert [*seen, metrics.in_flight] == [2, 1, 0]
    assert metrics.failures == {(UNKNOWN_MODEL, "Predict", "REST", "INTERNAL"): 1}


def test_kserve_requests_are_counted(models_dir):
    """KServe inferences count as API "ModelInfer", with the labels of the other APIs."""
    body = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
    with servers.in_this_process(models_dir) as address:
        rest = Http(address)
        assert rest.post("/v2/models/identity/infer", body)[0] == 200
        assert rest.post("/v2/models/identity/infer", {"inputs": []})[0] == 400
        assert rest.post("/v2/models/nope/infer", body)[0] == 404
        page = scrape(address)

    labels = {"model_name": "identity", "API": "ModelInfer", "entrypoint": "REST"}
    assert page.value(f"{TFS}request_latency_count", **labels) == 1
    labels["status"] = "INVALID_ARGUMENT"
    assert page.value("onnx_serving_failures_total", **labels) == 1
    assert page.value(f"{TFS}request_count", model_name=UNKNOWN_MODEL, status="NOT_FOUND") == 1
