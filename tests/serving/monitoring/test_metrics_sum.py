import json

from prometheus_client import Metric

from serving.monitoring import metrics_sum
from serving.monitoring.metrics_sum import MetricsSum


def counter(value: float, **labels: str) -> Metric:
    metric = Metric("requests", "Requests.", "counter")
    metric.add_sample("requests", labels, value)
    return metric


def gauge(name: str, value: float, **labels: str) -> Metric:
    metric = Metric(name, "State.", "gauge")
    metric.add_sample(name, labels, value)
    return metric


def values(total: MetricsSum) -> dict:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in total.total()
        for sample in metric.samples
    }


def test_counts_add_up():
    """The total of a series is the sum over all processes that report the series."""
    total = MetricsSum()
    total.heard(1, [counter(3, model="a")])
    total.heard(2, [counter(4, model="a")])
    total.heard(1, [counter(5, model="a"), gauge("in_flight", 2)])

    assert values(total) == {("requests", "a"): 9, ("in_flight",): 2}


def test_states_are_not_added_up():
    """A state that several workers report counts once; the start time is the earliest one."""
    total = MetricsSum()
    for process in (1, 2):
        total.heard(
            process,
            [
                gauge("onnx_serving_build_info", 1, version="1"),
                gauge("onnx_serving_model_state", 1, state="AVAILABLE"),
                gauge("process_start_time_seconds", 100 + process),
            ],
        )

    assert set(values(total).values()) == {1, 101}


def test_a_sum_does_not_fall_when_a_process_dies():
    """A dead process's counters stay in the sum, its gauges do not; its successor adds to them."""
    total = MetricsSum()
    for process in (1, 2):
        total.heard(process, [counter(10, model="a"), gauge("in_flight", 1)])
    total.ended(1)
    after_death = values(total)
    total.heard(1, [counter(1, model="a"), gauge("in_flight", 1)])

    assert after_death == {("requests", "a"): 20, ("in_flight",): 1}
    assert values(total) == {("requests", "a"): 21, ("in_flight",): 2}


def test_series_end_with_their_model():
    """Counts of a dead process are dropped once no live process reports the series."""
    total = MetricsSum()
    for process in (1, 2):
        total.heard(process, [counter(10, model="a")])
    total.ended(1)
    total.heard(2, [])
    gone = values(total)
    total.heard(2, [counter(1, model="a")])

    assert gone == {}
    assert values(total) == {("requests", "a"): 1}


def test_metrics_survive_json():
    """Names, labels, values and their order are the same after a round trip through JSON."""
    metric = Metric("seconds", 'Text with "quotes".', "histogram")
    metric.add_sample("seconds_bucket", {"le": "+Inf"}, 3)
    metric.add_sample("seconds_sum", {}, 0.25)

    (read,) = metrics_sum.from_json(json.loads(json.dumps(metrics_sum.to_json([metric]))))

    assert read == metric


def test_a_label_counts_once():
    """A version label is 1 in the total, whether all workers have it or one of them."""
    name = "onnx_serving_version_label"
    total = MetricsSum()
    total.heard(1, [gauge(name, 1, label="stable")])
    total.heard(2, [gauge(name, 1, label="stable")])
    total.heard(3, [gauge(name, 1, label="canary")])

    assert values(total) == {(name, "stable"): 1, (name, "canary"): 1}


def test_the_earliest_expiry_of_a_certificate_counts():
    """If a worker still shows an older certificate, the total is the time when that one expires."""
    name = "onnx_serving_certificate_expiration_timestamp_seconds"
    total = MetricsSum()
    total.heard(1, [gauge(name, 2000.0, port="grpc")])
    total.heard(2, [gauge(name, 1000.0, port="grpc")])

    assert values(total) == {(name, "grpc"): 1000.0}
