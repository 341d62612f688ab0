"""Statistics of the served versions, as Triton's extension `statistics` defines them.

`collect` reads them from the counts of a process, as metrics, so that those of several worker
processes can be summed like a metrics page. `read` reads the sum.

Times are those of the metrics: `success` and `fail` from a request's handler to its answer, `queue`
until a worker thread takes the request, and then the stages of `run_statistics`.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client import Metric

from serving.engine.servable import Servable
from serving.monitoring.counts import Metrics, ServableMetrics

_COUNTS = "version_statistics"
# `metrics_sum` takes the greatest value of several processes for a name with this end.
_LAST = "version_last_inference"
_STAGES = ("gathering", "running", "delivering")


@dataclass(frozen=True)
class Duration:
    """A number of events and the time of all of them together, in nanoseconds."""

    count: int
    ns: int


class SizeStatistics(NamedTuple):
    """The runs of one batch size.

    Attributes:
        size: Rows without padding; 1 for a request that cannot share a run.
        gathering: Runs, and their time of gathering the rows.
        running: Runs, and the time of the model.
        delivering: Runs, and the time until the event loop had the outputs.
    """

    size: int
    gathering: Duration
    running: Duration
    delivering: Duration


@dataclass(frozen=True, kw_only=True)
class VersionStatistics:
    """The statistics of one version since it was loaded.

    Attributes:
        name: Model name.
        version: Version number.
        last_inference_ms: When the newest batch began, in milliseconds since 1970; 0: none has.
        rows: Rows of the runs that did not fail, without padding.
        runs: Runs that did not fail.
        success: Requests answered OK.
        fail: Requests that ended in an error.
        queue: Requests, or parts of split requests, that left the queue.
        gathering: Requests whose run did not fail, each with the whole stage of its batch.
        running: The same, and the time of the model.
        delivering: The same, and the time until the event loop had the outputs.
        sizes: The runs by batch size, ascending.
    """

    name: str
    version: int
    last_inference_ms: int
    rows: int
    runs: int
    success: Duration
    fail: Duration
    queue: Duration
    gathering: Duration
    running: Duration
    delivering: Duration
    sizes: Sequence[SizeStatistics]


def served(metrics: Metrics) -> Iterable[tuple[Servable, ServableMetrics]]:
    """Yield the servables that answer requests, newest version first, with their counts."""
    for model in metrics.catalog.models.values():
        for version in sorted(model.servables, reverse=True):
            servable = model.servables[version]
            counts = metrics.servables.get(servable)
            if counts is not None:
                yield servable, counts


def collect(metrics: Metrics) -> list[Metric]:
    """Return the statistics of this process's versions, for `read`.

    Args:
        metrics: The counts of this process.
    """
    counts = Metric(_COUNTS, "", "counter")
    last = Metric(_LAST, "", "gauge")
    for servable, of_servable in served(metrics):
        labels = {"model": servable.name, "version": str(servable.version)}
        for name, value in _figures(of_servable).items():
            counts.add_sample(name, labels, value)
        signatures = of_servable.signatures.values()
        for own in signatures:
            for size, totals in own.statistics.sizes:
                # Two signatures may have the same size: `read` adds them.
                for name, value in totals._asdict().items():
                    counts.add_sample(f"size_{name}", labels | {"size": str(size)}, value)
        newest = max(own.statistics.last for own in signatures)
        at = time.time() - (time.monotonic() - newest) if newest else 0.0
        last.add_sample(_LAST, labels, int(1000 * at))
    return [counts, last]


def _figures(counts: ServableMetrics) -> dict[str, float]:
    """Return the figures of a version over its signatures, by name."""
    figures = {
        "fail_count": float(counts.failures.total()),
        "fail_seconds": counts.failed_seconds,
    }

    def add(name: str, value: float) -> None:
        figures[name] = figures.get(name, 0) + value

    for own in counts.signatures.values():
        add("rows", own.statistics.rows)
        add("runs", own.statistics.runs)
        add("success_count", sum(one.count for one in own.request_seconds.values()))
        add("success_seconds", sum(one.total for one in own.request_seconds.values()))
        add("queue_count", own.queue_seconds.count)
        stages = own.statistics.requests
        # The histogram has the time until the run, and with it the gathering of the batch.
        add("queue_seconds", own.queue_seconds.total - stages.gathering)
        for name, value in stages._asdict().items():
            add(name, value)
    return figures


def read(metrics: Iterable[Metric]) -> list[VersionStatistics]:
    """Return the statistics by version, in the order of the first process.

    Args:
        metrics: From `collect`, or the sum of those of several processes.
    """
    figures: dict[tuple[str, str], dict[str, float]] = {}
    sizes: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for metric in metrics:
        for sample in metric.samples:
            key = (sample.labels["model"], sample.labels["version"])
            place = figures.setdefault(key, {})
            if "size" in sample.labels:
                size = int(sample.labels["size"])
                place = sizes.setdefault(key, {}).setdefault(size, {})
            place[sample.name] = place.get(sample.name, 0) + sample.value
    return [
        VersionStatistics(
            name=name,
            version=int(version),
            last_inference_ms=int(found.get(_LAST, 0)),
            rows=int(found["rows"]),
            runs=int(found["runs"]),
            **{kind: _duration(found, kind) for kind in ("success", "fail", "queue")},
            **{stage: _stage(found, stage) for stage in _STAGES},
            sizes=[
                SizeStatistics(size, *(_stage(of_size, stage, "size_") for stage in _STAGES))
                for size, of_size in sorted(sizes.get((name, version), {}).items())
            ],
        )
        for (name, version), found in figures.items()
        if "rows" in found
    ]


def _duration(figures: Mapping[str, float], kind: str) -> Duration:
    return Duration(int(figures[f"{kind}_count"]), _ns(figures[f"{kind}_seconds"]))


def _stage(figures: Mapping[str, float], stage: str, prefix: str = "") -> Duration:
    return Duration(int(figures[f"{prefix}number"]), _ns(figures[prefix + stage]))


def _ns(seconds: float) -> int:
    return max(0, round(1e9 * seconds))  # a difference of two sums may be a rounding below 0
