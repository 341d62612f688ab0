import base64
import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from calling.rest_client import Http
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from running import servers
from sample_models import tiny_models

from serving.monitoring import metric_table
from serving.workers.worker_process import worker_metrics

ROOT = Path(__file__).parents[3]
DECLARED = {row.name: row for row in metric_table.METRICS}
OF_THE_PROCESS = ("process_", "python_")
OF_THE_SUPERVISOR = {
    metric_table.WORKERS.name,
    metric_table.WORKERS_READY.name,
    metric_table.WORKER_RESTARTS.name,
}
# tests/e2e/test_certificate_change.py reads them from a server with TLS.
OF_TLS = {
    metric_table.CERTIFICATE_EXPIRATION.name,
    metric_table.CERTIFICATE_RELOAD_FAILURES.name,
}


@pytest.fixture(scope="module")
def families(tmp_path_factory) -> dict[str, object]:
    """Return the metrics by name after a Predict, a refused Predict and a Classify.

    The version of one model has a label.
    """
    models = tmp_path_factory.mktemp("models")
    tiny_models.identity(models)
    (models / "simcnn").symlink_to(ROOT / "models" / "simcnn")
    file = models / "models.config"
    file.write_text(
        f"""model_config_list {{
            config {{ name: "simcnn" base_path: "{models}/simcnn" }}
            config {{
                name: "identity"
                base_path: "{models}/identity"
                version_labels {{ key: "stable" value: 1 }}
            }}
        }}"""
    )
    png = io.BytesIO()
    Image.new("RGB", (32, 32)).save(png, "PNG")
    example = {"image/encoded": {"b64": base64.b64encode(png.getvalue()).decode()}}
    settings = {"model_config_file": file, "triton_metrics": True}
    with servers.in_this_process(None, **settings) as address:
        rest = Http(address)
        assert rest.post("/v1/models/identity:predict", {"instances": [[1, 2, 3]]})[0] == 200
        assert rest.post("/v1/models/identity:predict", {"instances": ["no"]})[0] == 400
        status, answer = rest.post(
            "/v1/models/simcnn:classify", {"signature_name": "classify", "examples": [example]}
        )
        _, _, body = rest.ask("GET", "/monitoring/prometheus/metrics")
    assert status == 200, answer
    text = body.decode()
    # The parser adds `_total` to the names of TensorFlow Serving's counters, which lack it.
    written = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    found = {}
    for family in text_string_to_metric_families(text):
        names = [name for name in (f"{family.name}_total", family.name) if name in written]
        found[names[0]] = family
    return found


def of_the_table(families: dict[str, object]) -> dict[str, object]:
    return {name: one for name, one in families.items() if not name.startswith(OF_THE_PROCESS)}


def test_the_page_has_the_metrics_of_the_table_and_no_other(families):
    """Every metric of the table is on the page of a busy server without TLS; nothing else is."""
    assert set(of_the_table(families)) == set(DECLARED) - OF_THE_SUPERVISOR - OF_TLS


def test_types_and_labels_are_those_of_the_table(families):
    """A metric's type and labels on the page are those that the table declares."""
    for name, family in of_the_table(families).items():
        labels = {tuple(sorted(set(sample.labels) - {"le"})) for sample in family.samples}

        assert (family.type, labels) == (
            DECLARED[name].kind,
            {tuple(sorted(DECLARED[name].labels))},
        )


def test_the_supervisor_adds_the_metrics_of_the_workers():
    """With several workers the page also has their number, the ready ones and the restarts."""
    workers = [
        SimpleNamespace(ready=True),
        SimpleNamespace(ready=False),
        SimpleNamespace(ready=True),
    ]
    added = {metric.name: metric.samples for metric in worker_metrics(workers, 7)}

    assert set(added) == OF_THE_SUPERVISOR
    assert {name: (sample.labels, sample.value) for name, (sample,) in added.items()} == dict(
        zip(sorted(OF_THE_SUPERVISOR), [({}, 7), ({}, 3), ({}, 2)], strict=True)
    )


def test_the_documentation_has_every_metric(families):
    """docs/metrics.md names every metric of the table, and every other metric of a real page."""
    page = (ROOT / "docs" / "metrics.md").read_text()

    assert {name for name in {*families, *DECLARED} if f"`{name}`" not in page} == set()
