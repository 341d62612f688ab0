"""The metrics under Triton's names, with --triton_metrics."""

import numpy as np
import pytest
from calling.rest_client import Http
from sample_models import tiny_models
from sample_results.metrics_pages import ONE, scrape

from serving.client import PredictClient, PredictError

VERSION = {"model": "identity", "version": "1"}


@pytest.fixture(scope="module")
def page(tmp_path_factory, running_server):
    """The page after two requests of one and four rows, and two that fail."""
    models = tmp_path_factory.mktemp("models")
    tiny_models.identity(models)
    tiny_models.fragile(models)
    with running_server(models, triton_metrics=True) as address, PredictClient(address) as client:
        client.predict("identity", {"x": np.ones((4, 3), np.float32)})
        assert Http(address).post("/v1/models/identity:predict", ONE)[0] == 200
        assert Http(address).post("/v1/models/identity/versions/1:predict", {})[0] == 400
        with pytest.raises(PredictError):
            client.predict("fragile", {"shape": np.array([2], np.int64)})
        return scrape(address)


def test_counts_have_tritons_names(page):
    """Requests, rows, runs and the queue are on the page under Triton's names."""
    assert page.value("nv_inference_request_success", **VERSION) == 2
    assert page.value("nv_inference_count", **VERSION) == 5
    assert page.value("nv_inference_exec_count", **VERSION) == 2
    assert page.value("nv_inference_pending_request_count", **VERSION) == 0
    assert page.value("nv_inference_count", model="fragile", version="1") == 0


@pytest.mark.parametrize(
    ("model", "reasons"), [("identity", {"OTHER": 1}), ("fragile", {"BACKEND": 1})]
)
def test_failures_have_tritons_reasons(page, model, reasons):
    """A failure of the model is BACKEND, and a mistake of the caller is OTHER."""
    found = {
        reason: page.value("nv_inference_request_failure", model=model, version="1", reason=reason)
        for reason in ("REJECTED", "CANCELED", "BACKEND", "OTHER")
    }

    assert found == {"REJECTED": 0, "CANCELED": 0, "BACKEND": 0, "OTHER": 0} | reasons


def test_times_are_summed_in_microseconds(page):
    """The stages of the requests add up to less than their whole time."""
    names = ("queue", "compute_input", "compute_infer", "compute_output")
    stages = [page.value(f"nv_inference_{name}_duration_us", **VERSION) for name in names]
    whole = page.value("nv_inference_request_duration_us", **VERSION)

    assert 0 < sum(stages) < whole < 60e6


def test_tritons_metrics_are_off_by_default(target):
    """Without the flag no metric has a name of Triton's."""
    assert "nv_inference" not in scrape(target).text
