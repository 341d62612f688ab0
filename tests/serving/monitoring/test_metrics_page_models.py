"""Tests of the series of models that come, go, fail to load or are unknown."""

import asyncio
import re
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import pytest
from calling.rest_client import Http
from running import servers
from sample_models import tiny_models
from sample_results.metrics_pages import ONE, ROW, TFS, Page, counted_manager, scrape

from serving.access.roles import Role
from serving.client import PredictClient, PredictError
from serving.engine.servable import Servable
from serving.monitoring.counts import UNKNOWN_MODEL
from serving.monitoring.metered_methods import metered
from serving.monitoring.metrics_page import MetricsPage
from serving.protos.tensorflow_serving_pb2 import PredictRequest
from serving.repository.model_config import All, find_models
from serving.transport.method_table import Call, UnaryMethod


class Answered(NamedTuple):
    """What a response of Predict tells."""

    model: str
    version: int
    signature_name: str


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


def test_version_labels_move_with_a_reload(tmp_path):
    """Each label of a model is 1 with its version; after a reload it has its new version alone."""
    for version in (1, 2):
        tiny_models.identity(tmp_path, version=version)
    (config,) = find_models(tmp_path).values()
    config = replace(config, policy=All())
    pages = []

    async def move() -> None:
        manager, metrics = counted_manager(lambda: {"identity": replace(config, labels={"a": 1})})
        page = MetricsPage(metrics, provider="x")
        await manager.start()
        pages.append(Page(page.text().decode()))
        for labels in ({"a": 2, "b": 1}, {}):
            await manager.reload({"identity": replace(config, labels=labels)})
            pages.append(Page(page.text().decode()))
        await manager.close()

    asyncio.run(move())

    found = [
        {
            (labels["label"], labels["version"])
            for labels in page.labels("onnx_serving_version_label")
        }
        for page in pages
    ]
    assert found == [{("a", "1")}, {("a", "2"), ("b", "1")}, set()]


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
