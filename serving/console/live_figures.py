"""The live figures: counts and distributions of each model, made from the server's metrics.

The document has sums since the start of the server. The page asks for it each second and computes
rates and percentiles from the differences, so that the server keeps nothing for it.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import Metric

from serving.monitoring import metric_table
from serving.monitoring.counts import (
    BATCH_ROWS,
    LATENCY_MICROSECONDS,
    QUEUING_MICROSECONDS,
    UNKNOWN_MODEL,
)
from serving.monitoring.metric_table import MetricRow

# The distributions by name: the metric, and the label that has the model's name. The times are in
# microseconds. `rows`: the rows of a run, padding included.
_DISTRIBUTIONS: Mapping[str, tuple[MetricRow, str]] = {
    "request": (metric_table.REQUEST_LATENCY, "model_name"),
    "queue": (metric_table.QUEUING_LATENCY, "thread_pool_name"),
    "run": (metric_table.RUNTIME_LATENCY, "model_name"),
    "rows": (metric_table.PROCESSED_BATCH_SIZE, "model_name"),
}
_GAUGES: Mapping[str, MetricRow] = {
    "queued": metric_table.QUEUED_REQUESTS,
    "in_progress": metric_table.ROWS_IN_PROGRESS,
    "most_rows": metric_table.MAX_ENQUEUED_ROWS,
}
_SERVER: Mapping[str, str] = {
    "in_flight": metric_table.REQUESTS_IN_FLIGHT.name,
    "workers": metric_table.WORKERS.name,
    "workers_ready": metric_table.WORKERS_READY.name,
    "worker_restarts": metric_table.WORKER_RESTARTS.name,
    "resident_bytes": "process_resident_memory_bytes",
    "cpu_seconds": "process_cpu_seconds_total",
    "started": "process_start_time_seconds",
}

# Upper limits of the buckets of each distribution; a last bucket has no limit.
LIMITS: Mapping[str, tuple[float, ...]] = {
    "request": LATENCY_MICROSECONDS,
    "queue": QUEUING_MICROSECONDS,
    "run": LATENCY_MICROSECONDS,
    "rows": BATCH_ROWS,
}


def document(metrics: Iterable[Metric], state: str) -> dict[str, Any]:
    """Return the document.

    Args:
        metrics: The metrics of this process, or the sum over all worker processes.
        state: A text that changes when a model, a version or a state does.

    Returns:
        `at`, the time in seconds of a clock that all processes of the machine share; `state`;
        `server`, with a number for each known name of `_SERVER`; and `models` by name. A model has
        `answered`; `errors` by code; `calls` by API and entrypoint; the gauges of `_GAUGES`; and
        the distributions of `_DISTRIBUTIONS`, each with `counts`, which are cumulative up to each
        of `LIMITS`, and `sum`. Requests to models that are not served are those of "unknown".
    """
    by_name = {metric.name: metric for metric in metrics}
    models: dict[str, dict[str, Any]] = {}
    _count(models, by_name)
    for name, row in _GAUGES.items():
        for sample in _samples(by_name, row.name):
            model = _model(models, sample.labels["model_name"])
            model[name] = model.get(name, 0) + sample.value
    for name, (row, label) in _DISTRIBUTIONS.items():
        for model_name, distribution in _distributions(by_name, row.name, label).items():
            _model(models, model_name)[name] = distribution
    server = {
        name: sum(sample.value for sample in samples)
        for name, metric_name in _SERVER.items()
        if (samples := _samples(by_name, metric_name))
    }
    return {"at": time.monotonic(), "state": state, "server": server, "models": models}


def _count(models: dict[str, dict[str, Any]], by_name: Mapping[str, Metric]) -> None:
    """Add the numbers of answers, errors and calls."""
    for sample in _samples(by_name, metric_table.REQUEST_COUNT.name):
        if sample.labels["status"] == "OK":
            _model(models, sample.labels["model_name"])["answered"] = sample.value
    for sample in _samples(by_name, metric_table.FAILURES.name):
        errors = _model(models, sample.labels["model_name"])["errors"]
        code = sample.labels["status"]
        errors[code] = errors.get(code, 0) + sample.value
    count = f"{metric_table.REQUEST_LATENCY.name}_count"
    for sample in _samples(by_name, metric_table.REQUEST_LATENCY.name):
        if sample.name == count:
            calls = _model(models, sample.labels["model_name"])["calls"]
            calls[f"{sample.labels['API']} {sample.labels['entrypoint']}"] = sample.value


def _model(models: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    return models.setdefault(name, {"answered": 0, "errors": {}, "calls": {}})


def _samples(by_name: Mapping[str, Metric], name: str) -> list[Any]:
    """Return the samples of a metric, whose name prometheus_client may have cut."""
    metric = by_name.get(name) or by_name.get(name.removesuffix("_total"))
    return [] if metric is None else metric.samples


def _distributions(
    by_name: Mapping[str, Metric], name: str, label: str
) -> dict[str, dict[str, Any]]:
    """Return the distribution of each model, summed over all other labels."""
    counts: dict[str, dict[str, float]] = {}
    sums: dict[str, float] = {}
    for sample in _samples(by_name, name):
        model = sample.labels[label]
        if sample.name.endswith("_bucket"):
            buckets, limit = counts.setdefault(model, {}), sample.labels["le"]
            buckets[limit] = buckets.get(limit, 0) + sample.value
        elif sample.name.endswith("_sum"):
            sums[model] = sums.get(model, 0) + sample.value
    return {
        model: {"counts": list(buckets.values()), "sum": sums[model]}
        for model, buckets in counts.items()
    }


def visible(document: Mapping[str, Any], models: frozenset[str] | None) -> dict[str, Any]:
    """Return the document with those models only that a caller may use.

    Args:
        document: See `document`.
        models: Names of the caller's models; None for all.
    """
    if models is None:
        return dict(document)
    known = document["models"]
    kept = {name: known[name] for name in known if name in models and name != UNKNOWN_MODEL}
    return {**document, "models": kept}
