"""Metrics of several worker processes: sent as JSON, and summed over the workers of one server.

The sum of a counter must not decrease, because Prometheus takes a decrease for a restart of the
counter. A worker that does not answer in time therefore contributes its last known values. Counters
of a dead worker stay in the sum while another worker still reports the same series.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from prometheus_client import Metric

# How the values of several processes are combined, by the end of the metric's name. All other
# metrics are summed.
_BEST = {
    "_certificate_expiration_timestamp_seconds": min,
    "_info": max,
    "_last_inference": max,
    "_model_state": max,
    "_signature_batched": max,
    "_version_label": max,
    "process_start_time_seconds": min,
}
_COUNTING = ("counter", "histogram")

_Series = tuple[str, tuple[tuple[str, str], ...]]


def to_json(metrics: Iterable[Metric]) -> list[Any]:
    """Return metrics as lists that can be serialized as JSON."""
    return [
        (
            metric.name,
            metric.documentation,
            metric.type,
            [(sample.name, sample.labels, sample.value) for sample in metric.samples],
        )
        for metric in metrics
    ]


def from_json(entries: Iterable[Any]) -> list[Metric]:
    """Return the metrics from the result of `to_json`."""
    metrics = []
    for name, documentation, kind, samples in entries:
        metric = Metric(name, documentation, kind)
        for sample in samples:
            metric.add_sample(*sample)
        metrics.append(metric)
    return metrics


class MetricsSum:
    """Sums the metrics of processes that may start and end meanwhile."""

    def __init__(self) -> None:
        self._last: dict[int, Sequence[Metric]] = {}
        self._ended: dict[_Series, float] = {}

    def heard(self, process: int, metrics: Sequence[Metric]) -> None:
        """Store the current metrics of a process in place of its earlier ones."""
        self._last[process] = metrics

    def ended(self, process: int) -> None:
        """Keep the counters and histograms of a process that has died, and drop its gauges."""
        for metric in self._last.pop(process, ()):
            if metric.type in _COUNTING:
                for sample in metric.samples:
                    series = _series(sample.name, sample.labels)
                    self._ended[series] = self._ended.get(series, 0) + sample.value

    def total(self) -> list[Metric]:
        """Return the sum over all processes; series keep the order of the processes' metrics."""
        sums: dict[str, tuple[Metric, dict[_Series, float]]] = {}
        for metrics in self._last.values():
            for metric in metrics:
                total, values = sums.setdefault(metric.name, (_empty(metric), {}))
                combine = _combination(total)
                for sample in metric.samples:
                    series = _series(sample.name, sample.labels)
                    known = values.get(series)
                    values[series] = (
                        sample.value if known is None else combine((known, sample.value))
                    )
        present = {series for _, values in sums.values() for series in values}
        self._forget_all_but(present)
        for total, values in sums.values():
            for series, value in values.items():
                name, labels = series
                total.add_sample(name, dict(labels), value + self._ended.get(series, 0))
        return [total for total, _ in sums.values()]

    def _forget_all_but(self, present: Collection[_Series]) -> None:
        """Drop the kept counts of series that no living process reports any more."""
        for series in self._ended.keys() - present:
            del self._ended[series]


def _series(name: str, labels: dict[str, str]) -> _Series:
    return name, tuple(labels.items())


def _empty(metric: Metric) -> Metric:
    return Metric(metric.name, metric.documentation, metric.type)


def _combination(metric: Metric) -> Any:  # noqa: ANN401 - max, min and sum share no type
    endings = (ending for ending in _BEST if metric.name.endswith(ending))
    ending = next(endings, None)
    return sum if ending is None else _BEST[ending]
