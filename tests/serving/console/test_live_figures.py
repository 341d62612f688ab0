"""The live figures against what was sent."""

import numpy as np
import pytest
from calling.rest_client import Http
from running import servers

from serving.client import PredictClient, PredictError
from serving.console import live_figures
from serving.console.live_figures import LIMITS

ONES = np.ones((2, 3), np.float32)


@pytest.fixture(scope="module")
def found(models_dir) -> tuple[dict, dict]:
    """The figures before and after five right, two wrong and one lost request."""
    with servers.in_this_process(models_dir) as address, PredictClient(address) as client:
        rest = Http(address)
        before = rest.get("/console/figures")[1]
        for _ in range(4):
            client.predict("identity", {"x": ONES})
        rest.post("/v1/models/identity:predict", {"instances": ONES.tolist()})
        for _ in range(2):
            with pytest.raises(PredictError):
                client.predict("identity", {"y": ONES})
        with pytest.raises(PredictError):
            client.predict("nobody", {"x": ONES})
        client.predict("add", {"a": np.array([1]), "b": np.array([2])})
        return before, rest.get("/console/figures")[1]


def test_answers_errors_and_calls_are_counted_by_model(found):
    """Errors by code, calls by API and entrypoint; an unknown model is "unknown"."""
    _, after = found
    identity = after["models"]["identity"]

    assert identity["answered"] == 5
    assert identity["errors"] == {"INVALID_ARGUMENT": 2}
    assert identity["calls"] == {"Predict GRPC": 4, "Predict REST": 1}
    assert after["models"]["unknown"]["errors"] == {"NOT_FOUND": 1}
    assert after["models"]["add"]["answered"] == 1


def test_distributions_have_every_request_and_run(found):
    """The last, cumulative count is that of all; there is one count more than limits."""
    _, after = found
    identity = after["models"]["identity"]

    for name in ("request", "queue", "run", "rows"):
        assert len(identity[name]["counts"]) == len(LIMITS[name]) + 1
        assert identity[name]["counts"] == sorted(identity[name]["counts"])
    assert identity["request"]["counts"][-1] == 5
    assert identity["queue"]["counts"][-1] == 5
    runs = identity["run"]["counts"][-1]
    assert 1 <= runs <= 5
    assert identity["rows"]["counts"][-1] == runs
    assert identity["rows"]["sum"] == 10
    assert 0 < identity["run"]["sum"] < identity["request"]["sum"]


def test_the_server_is_described_by_numbers(found):
    """Memory, CPU time and requests in flight; the clock goes on."""
    before, after = found

    assert after["at"] > before["at"]
    assert after["server"]["resident_bytes"] > 1e7
    assert after["server"]["cpu_seconds"] >= before["server"]["cpu_seconds"] > 0
    assert after["server"]["in_flight"] == 0
    assert "workers" not in after["server"]
    assert after["models"]["identity"]["queued"] == 0
    assert after["models"]["identity"]["most_rows"] == 10_000


def test_only_the_callers_models_are_left():
    """A caller with some models does not see requests to unknown ones either."""
    document = {"at": 1, "models": {"a": 1, "b": 2, "unknown": 3}}

    assert live_figures.visible(document, None) == document
    assert live_figures.visible(document, frozenset({"a", "unknown"}))["models"] == {"a": 1}


def test_without_metrics_the_gauges_are_left(models_dir, tmp_path):
    """With the metrics switched off the server counts nothing, and the list of models says so."""
    file = tmp_path / "monitoring.config"
    file.write_text("prometheus_config: { enable: false }")
    with servers.in_this_process(models_dir, monitoring_config_file=file) as address:
        rest = Http(address)
        rest.post("/v1/models/identity:predict", {"instances": ONES.tolist()})
        status, figures = rest.get("/console/figures")
        _, models = rest.get("/console/models")

    assert status == 200
    assert figures["models"]["identity"]["answered"] == 0
    assert "request" not in figures["models"]["identity"]
    assert models["server"]["is_metered"] is False
    assert models["server"]["metrics_path"] is None
