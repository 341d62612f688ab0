"""Metrics between processes: as JSON, and summed up over the workers of one server.

The sum must never fall while its processes live, because Prometheus takes a counter that falls for
one that began anew. So a worker that does not answer in time counts as it did last, and what one
counted that has died is kept, as long as any other still has the same series.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from prometheus_client import Metric

# What one process says for all of them, by the end of the name; everything else is added up.
_BEST = {
    "_info": max,
    "_model_state": max,
    "_signature_batched": max,
    "process_start_time_seconds": min,
}
_COUNTING = ("counter", "histogram")

_Series = tuple[str, tuple[tuple[str, str], ...]]


def to_json(metrics: Iterable[Metric]) -> list[Any]:
    """Metrics in a form that JSON can carry."""
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
    """The metrics that `to_json` was given."""
    metrics = []
    for name, documentation, kind, samples in entries:
        metric = Metric(name, documentation, kind)
        for sample in samples:
            metric.add_sample(*sample)
        metrics.append(metric)
    return metrics


class MetricsSum:
    """Adds up the metrics of processes that come and go."""

    def __init__(self) -> None:
        self._last: dict[int, Sequence[Metric]] = {}
        self._ended: dict[_Series, float] = {}

    def heard(self, process: int, metrics: Sequence[Metric]) -> None:
        """Note what a process counts now; whatever it was before is replaced."""
        self._last[process] = metrics

    def ended(self, process: int) -> None:
        """A process has died: its counts are kept, but it has no state any more."""
        for metric in self._last.pop(process, ()):
            if metric.type in _COUNTING:
                for sample in metric.samples:
                    series = _series(sample.name, sample.labels)
                    self._ended[series] = self._ended.get(series, 0) + sample.value

    def total(self) -> list[Metric]:
        """The sum over all processes, in their order of series."""
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
        """Series end with the models they are about."""
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
