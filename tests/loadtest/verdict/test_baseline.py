import msgspec
import pytest
from load_reports import collection, report

from loadtest.load.scenarios import settle
from loadtest.settings.config import LoadTestConfig, UsageError
from loadtest.verdict.baseline import load_baseline


@pytest.fixture
def load(tmp_path):
    """The load of a single-stream run."""
    config = LoadTestConfig(
        target="t:1", model="simcnn", scenario="single-stream", output_dir=tmp_path, name="run"
    )
    return settle(config, 10_000)


def test_a_baseline_is_read_from_its_folder(tmp_path, load):
    """A folder with a report of the same load is accepted as a baseline."""
    (tmp_path / "report.json").write_bytes(msgspec.json.encode(report()))

    baseline = load_baseline(tmp_path, model="simcnn", load=load, capacity=False)

    assert baseline.name == "run"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        pytest.param(
            report(model="resnet50"),
            "model resnet50 in the baseline, simcnn in this run",
            id="model",
        ),
        pytest.param(report(batch=8), "batch 8 in the baseline, 1 in this run", id="batch"),
        pytest.param(
            report(kind="users", users=4),
            "scenario users in the baseline, single-stream in this run",
            id="scenario",
        ),
        pytest.param({"schema_version": 1}, "schema_version 1, expected 2", id="version"),
        pytest.param(
            collection([report()] * 2), "collection of 2 runs, expected a single", id="several"
        ),
        pytest.param([], "Expected object, got array", id="no-report"),
    ],
)
def test_a_baseline_of_something_else_is_refused(tmp_path, load, document, words):
    """A baseline of another load raises UsageError that names each difference."""
    file = tmp_path / "report.json"
    file.write_bytes(msgspec.json.encode(document))

    with pytest.raises(UsageError, match=words):
        load_baseline(file, model="simcnn", load=load, capacity=False)


def test_a_missing_baseline_is_refused(tmp_path, load):
    """A missing baseline raises UsageError that names the file."""
    with pytest.raises(UsageError, match="nowhere"):
        load_baseline(tmp_path / "nowhere", model="simcnn", load=load, capacity=False)
