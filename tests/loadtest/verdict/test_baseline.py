from dataclasses import replace

import msgspec
import pytest
from msgspec import structs
from sample_results.load_reports import collection, report

from loadtest.load.scenarios import settle
from loadtest.report_schema import Capacity
from loadtest.settings.config import GateConfig, LoadTestConfig, UsageError
from loadtest.verdict.baseline import compare, load_baseline


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
        pytest.param({"schema_version": 1}, "schema_version 1, this program reads", id="version"),
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


def test_a_baseline_has_the_same_rate_unless_a_search_found_it(tmp_path):
    """What differs is named, and nothing else."""
    (tmp_path / "report.json").write_bytes(msgspec.json.encode(report(kind="server", rate=100.0)))
    config = LoadTestConfig(
        target="t:1", model="simcnn", rate_per_second=100.0, output_dir=tmp_path, name="run"
    )
    same, faster = (settle(replace(config, rate_per_second=rate), 10_000) for rate in (100, 200))

    def differences(load, *, capacity: bool) -> str:
        with pytest.raises(UsageError) as raised:
            load_baseline(tmp_path, model="simcnn", load=load, capacity=capacity)
        return str(raised.value).partition("something else: ")[2]

    assert load_baseline(tmp_path, model="simcnn", load=same, capacity=False).name == "run"
    assert differences(faster, capacity=False) == "rate 100.0 in the baseline, 200 in this run"
    assert differences(faster, capacity=True) == (
        "find-capacity False in the baseline, True in this run"
    )


def test_a_missing_baseline_is_refused(tmp_path, load):
    """A missing baseline raises UsageError that names the file."""
    with pytest.raises(UsageError, match="nowhere"):
        load_baseline(tmp_path / "nowhere", model="simcnn", load=load, capacity=False)


def measured(*, p50=1.0, p99=2.0, images=100.0, top1=0.8, capacity=None, **settings):
    """A report of these figures; None for what was not measured."""
    document = report(**settings)
    found = capacity and Capacity(
        rate_per_second=capacity,
        confirmed=True,
        limited_by="slo",
        failed_rate_per_second=None,
        slo_ms=15,
        percentile=99,
        min_accuracy=None,
        steps=[],
        seconds=60,
    )
    return structs.replace(
        document,
        latency_ms=structs.replace(document.latency_ms, p50=p50, p99=p99),
        throughput=structs.replace(document.throughput, images_per_second=images),
        accuracy=structs.replace(document.accuracy, top1=top1),
        capacity=found,
    )


LIMITS = GateConfig(tolerance_percent=50, accuracy_tolerance_points=1)


def checks(now, then) -> dict[str, bool]:
    return {check.name: check.passed for check in compare(now, then, LIMITS)}


def test_accuracy_may_be_so_many_points_below_and_no_more():
    """A quarter is 25 points exactly."""
    now, then = measured(top1=0.5), measured(top1=0.75)

    passed = {
        points: compare(now, then, GateConfig(accuracy_tolerance_points=points))[-1].passed
        for points in (24.5, 25)
    }

    assert passed == {24.5: False, 25: True}


def test_a_closed_loop_is_compared_by_latency_throughput_and_accuracy():
    """What is exactly at the tolerance passes, what is beyond it does not."""
    at_the_limit = measured(p50=1.5, p99=3, images=50, top1=0.79)
    beyond = measured(p50=1.51, p99=3.01, images=49.9, top1=0.78)
    names = ["baseline-p50", "baseline-p99", "baseline-throughput", "baseline-accuracy"]

    assert checks(at_the_limit, measured(top1=0.795)) == dict.fromkeys(names, True)
    assert checks(beyond, measured()) == dict.fromkeys(names, False)


def test_an_open_loop_is_compared_by_latency_and_accuracy():
    """Its throughput is what was offered."""
    now, then = measured(kind="server", rate=10), measured(kind="server", rate=10)

    assert list(checks(now, then)) == ["baseline-p50", "baseline-p99", "baseline-accuracy"]


@pytest.mark.parametrize(("rate", "passed"), [(50.0, True), (49.0, False)])
def test_a_search_is_compared_by_its_rate(rate, passed):
    """Its latency is the bound's."""
    found = checks(measured(capacity=rate), measured(capacity=100.0))

    assert found == {"baseline-capacity": passed, "baseline-accuracy": True}


def test_a_search_and_a_run_have_no_rate_in_common():
    """They are compared by what both have."""
    names = ["baseline-p50", "baseline-p99", "baseline-throughput", "baseline-accuracy"]

    assert list(checks(measured(capacity=50.0), measured())) == names
    assert list(checks(measured(), measured(capacity=50.0))) == names


def test_a_figure_that_one_of_them_lacks_misses_its_gate():
    """A figure that cannot be compared is not within its tolerance; the detail says why."""
    lacking = measured(p99=None, top1=None)

    assert checks(lacking, measured()) == {
        "baseline-p50": True,
        "baseline-p99": False,
        "baseline-throughput": True,
        "baseline-accuracy": False,
    }
    assert checks(measured(), measured(p50=None, images=None)) == {
        "baseline-p50": False,
        "baseline-p99": True,
        "baseline-throughput": False,
        "baseline-accuracy": True,
    }
    details = {gate.name: gate.detail for gate in compare(lacking, measured(), LIMITS)}
    assert details["baseline-p99"].startswith("this run has no such figure (too few answers")


def test_no_images_at_all_are_a_throughput_of_0():
    """A run that nobody answered is slower than any baseline."""
    assert checks(measured(images=None), measured())["baseline-throughput"] is False


def test_details_name_both_figures_and_the_tolerance():
    """A reader of the log need not open the baseline."""
    latency, _, throughput, accuracy = compare(measured(p50=1.25), measured(), LIMITS)

    assert latency.detail == "1.250 ms, baseline 1.000 ms, at most 50 % more"
    assert throughput.detail == "100.0 images/s, baseline 100.0, at most 50 % less"
    assert accuracy.detail.startswith("top-1 80.00 %, baseline 80.00 %")
