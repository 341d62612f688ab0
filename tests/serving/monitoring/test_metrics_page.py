import asyncio
import contextlib
import re
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import servers
import tiny_models
from prometheus_client.parser import text_string_to_metric_families
from rest_client import Http

from serving.access.roles import Role
from serving.client import PredictClient, PredictError
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.catalog import Catalog
from serving.engine.managed_model import ManagerConfig
from serving.engine.manager import Manager
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.monitoring.counts import UNKNOWN_MODEL, Metrics
from serving.monitoring.metered_methods import metered
from serving.monitoring.metrics_page import MetricsPage
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    GetModelStatusRequest,
    PredictRequest,
)
from serving.repository.model_config import find_models
from serving.transport.method_table import Call, UnaryMethod

PATH = "/monitoring/prometheus/metrics"
ANY_PATH = "/v1/models/identity:predict"
ONE = {"instances": [[1, 2, 3]]}
TFS = ":tensorflow:serving:"
ROW = np.ones((1, 3), np.float32)


class Answered(NamedTuple):
    """What a response of Predict tells."""

    model: str
    version: int
    signature_name: str


class Page:
    """A scraped page, read by Prometheus' own parser."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        # The parser adds `_total` to the counters that lack it.
        self._samples = {
            (self._written(sample.name), frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def _written(self, name: str) -> str:
        found = re.search(rf"^{re.escape(name)}[{{ ]", self.text, re.MULTILINE)
        return name if found else name.removesuffix("_total")

    def value(self, name: str, **labels: str) -> float:
        """Return the value of the one sample with exactly these labels."""
        return self._samples[name, frozenset(labels.items())]

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the label sets of all samples with this name."""
        return [dict(labels) for sample, labels in self._samples if sample == name]


def scrape(address: str, path: str = PATH) -> Page:
    status, headers, body = Http(address).ask("GET", path)
    assert status == 200
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Page(body.decode())


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


def test_the_page_says_what_the_server_is(page):
    """The page names the versions and the provider as labels and has process metrics."""
    (build,) = page.labels("onnx_serving_build_info")

    assert sorted(build) == ["onnxruntime_version", "provider", "version"]
    assert build["provider"] == "CPUExecutionProvider"
    assert page.value("process_resident_memory_bytes") > 1e6


def test_unknown_names_make_no_series(models_dir):
    """Requests for hundreds of unknown model names all count in one series."""
    with servers.in_this_process(models_dir) as address:
        rest = Http(address)
        rest.post("/v1/models/first:predict", ONE)
        before = scrape(address).text.count("\n")
        with PredictClient(address) as client:
            for number in range(300):
                with pytest.raises(PredictError):
                    client.predict(f"name-{number}", {}, signature_name=f"s-{number}")
        for number in range(20):
            rest.post(f"/v1/models/other-{number}:predict", ONE)
        page = scrape(address)

    # Failures over gRPC and failures over REST are one series each.
    assert page.text.count("\n") <= before + 1
    assert "name-" not in page.text
    assert page.value(f"{TFS}request_count", model_name=UNKNOWN_MODEL, status="NOT_FOUND") == 321


def load(name, version, path):
    return Servable.load(name, version, path, RuntimeConfig(), BatchingConfig())


def counted_manager(find) -> tuple[Manager, Metrics]:
    """Return a manager that does not poll, and the counts of its models."""
    manager = Manager(find, load, ManagerConfig(poll_seconds=0), Catalog())
    metrics = Metrics(manager.catalog)
    manager.on_load = metrics.watch
    return manager, metrics


async def predict(servable: Servable) -> None:
    await servable.predict("serving_default", {"x": ROW}, ["y"])


def versions_of(text: str) -> set[str]:
    return set(re.findall(r'^onnx_serving_\w+\{.*version="(\d+)"', text, re.MULTILINE))


def test_ended_versions_take_their_series_along(tmp_path):
    """After ten new versions the page has as many lines as at first; the model's counts stay."""
    tiny_models.identity(tmp_path, version=1)
    pages = []

    async def retrain() -> None:
        manager, metrics = counted_manager(partial(find_models, tmp_path))
        page = MetricsPage(metrics, provider="CPUExecutionProvider")
        await manager.start()
        for version in range(2, 13):
            await predict(manager.catalog.servable("identity"))
            pages.append(page.text().decode())
            tiny_models.identity(tmp_path, version=version)
            await manager.update()
        await manager.close()

    asyncio.run(retrain())

    assert [versions_of(text) for text in pages] == [{str(version)} for version in range(1, 12)]
    own = [text.count("\nonnx_serving_") for text in pages]
    assert own == own[:1] * len(own)
    assert (
        Page(pages[-1]).value(f"{TFS}batching_session:wrapped_run_count", model_name="identity")
        == 11
    )


def test_models_that_are_gone_take_their_series_along(tmp_path):
    """The page has no series of a model that a reload removed."""
    tiny_models.identity(tmp_path, "stays")
    tiny_models.identity(tmp_path, "goes")
    pages = []

    async def shrink() -> None:
        manager, metrics = counted_manager(partial(find_models, tmp_path))
        page = MetricsPage(metrics, provider="CPUExecutionProvider")
        await manager.start()
        for name in ("stays", "goes"):
            metrics.count_failure(name, "Predict", "GRPC", ValueError())
        pages.append(page.text().decode())
        configs = find_models(tmp_path)
        await manager.reload({"stays": configs["stays"]})
        pages.append(page.text().decode())
        await manager.close()

    asyncio.run(shrink())

    assert ["goes" in text for text in pages] == [True, False]
    assert all("stays" in text for text in pages)


def test_a_version_that_failed_to_load_can_be_alerted_on(tmp_path):
    """A version that failed to load has state END; the page shows no version that was unloaded."""
    tiny_models.identity(tmp_path, "sound")
    broken = tmp_path / "broken" / "2"
    broken.mkdir(parents=True)
    (broken / "model.onnx").write_bytes(b"no graph")
    with servers.in_this_process(tmp_path) as address:
        page = scrape(address)

    states = {
        labels["model_name"]: labels["state"] for labels in page.labels("onnx_serving_model_state")
    }
    assert states == {"sound": "AVAILABLE", "broken": "END"}


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


def test_label_values_are_escaped(tmp_path):
    """A model name with quotes and a backslash is escaped; Prometheus' parser reads it back."""
    name = 'a "b" \\ c'
    tiny_models.identity(tmp_path, name)
    with servers.in_this_process(tmp_path) as address:
        page = scrape(address)

    assert page.value(f"{TFS}request_count", model_name=name, status="OK") == 0


def test_a_model_that_comes_back_is_counted_again(tmp_path):
    """Calls of a version that was removed and added again are on the page."""
    tiny_models.identity(tmp_path)
    values = []

    async def predict(_request: PredictRequest, _call: Call) -> Answered:
        return Answered("identity", 1, "serving_default")

    async def serve() -> None:
        manager, metrics = counted_manager(dict)
        page = MetricsPage(metrics, provider="x")
        await manager.start()
        method = UnaryMethod(
            path="/s/Predict", request_type=PredictRequest, handler=predict, role=Role.PREDICT
        )
        (counted,) = metered([method], metrics)
        for models in (find_models(tmp_path), {}, find_models(tmp_path)):
            await manager.reload(models)
            if models:
                await counted.handler(PredictRequest(), Call())
                labels = {"model_name": "identity", "API": "Predict", "entrypoint": "GRPC"}
                found = Page(page.text().decode())
                values.append(found.value(f"{TFS}request_latency_count", **labels))
            else:
                page.text()  # drops the series
        await manager.close()

    asyncio.run(serve())

    assert values == [1, 1]
