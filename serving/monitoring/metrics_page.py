"""The page that Prometheus scrapes: the counts of `counts` and the state of the models, as text.

All values are read when the page is requested, so that gauges cost nothing between two scrapes. As
in TensorFlow Serving, the format is Prometheus' text exposition format 0.0.4.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import onnxruntime
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from serving.access.caller import Refusal
from serving.engine.catalog import State, VersionStatus
from serving.engine.servable import Servable
from serving.errors import StatusCode
from serving.monitoring import identity, metric_table, version_statistics
from serving.monitoring.counts import LATENCY_MICROSECONDS, Metrics
from serving.monitoring.histogram import Histogram
from serving.transport.certificates.watch import CertificateWatch

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Value of the label `runtime` of `runtime_latency`, where TensorFlow Serving has TF1 or TFRT.
_RUNTIME = "ONNXRuntime"
# Triton's reasons of failed requests; all other codes are those of OTHER.
_REASONS = {
    "REJECTED": {
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.RESOURCE_EXHAUSTED,
    },
    "CANCELED": {StatusCode.CANCELLED},
    "BACKEND": {StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.OUT_OF_RANGE},
}
_TRITON_REASONS = _REASONS | {"OTHER": set(StatusCode).difference(*_REASONS.values())}


class MetricsPage(Collector):
    """Collects the series of a server."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        provider: str,
        file_failures: Callable[[], int] = lambda: 0,
        refusals: Mapping[Refusal, int] = MappingProxyType({}),
        keys_failures: Callable[[], int] = lambda: 0,
        certificates: CertificateWatch | None = None,
        triton: bool = False,
    ) -> None:
        """Create a registry for this server, so that servers in one process do not mix series.

        Args:
            metrics: The counts to show.
            provider: Execution provider that the server asks for, shown in `build_info`.
            file_failures: Returns how often the `model_config_file` held a list that could not be
                served. Worker processes leave this to their supervisor.
            refusals: Calls that the gate refused, by reason.
            keys_failures: Returns how often the keys file was broken; see `file_failures`.
            certificates: The TLS certificates; None: no metrics of certificates.
            triton: Whether the page has Triton's metrics, too (`--triton_metrics`).
        """
        self._refusals = refusals
        self._keys_failures = keys_failures
        self._metrics = metrics
        self._file_failures = file_failures
        self._certificates = certificates
        self._with_triton = triton
        self._provider = provider
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def metrics(self) -> list[Metric]:
        """Return all metrics of the page."""
        return list(self._registry.collect())

    def text(self) -> bytes:
        """Return the page as text."""
        return render(self.metrics())

    def describe(self) -> list[Metric]:
        """Return no metrics: else registering would collect all series to check their names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics except those of the process, the platform and the garbage collector."""
        self._metrics.forget_gone_models()
        servables = self._servables()
        yield from self._requests()
        yield from self._runs()
        yield _warm_up(servables)
        yield from self._versions(servables)
        yield from self._states()
        yield config_reload_failures(file=self._file_failures(), rpc=self._metrics.refused_reloads)
        yield _access_refusals(self._refusals)
        yield keys_file_failures(self._keys_failures())
        if self._certificates is not None:
            yield from _certificates(self._certificates)
        if self._with_triton:
            yield from self._triton()

    def _servables(self) -> list[Servable]:
        """Return the available servables."""
        models = self._metrics.catalog.models.values()
        return [
            model.servables[version]
            for model in models
            for version in sorted(model.servables, reverse=True)
        ]

    def _statuses(self) -> Iterator[tuple[str, VersionStatus]]:
        catalog = self._metrics.catalog
        for name in catalog.availability:
            for status in catalog.known_statuses(name):
                yield name, status

    def _requests(self) -> Iterator[Metric]:
        """Yield TensorFlow Serving's metrics of requests."""
        count = metric_table.REQUEST_COUNT.metric()
        latency = metric_table.REQUEST_LATENCY.metric()
        examples = metric_table.EXAMPLE_COUNTS.metric()
        total = metric_table.EXAMPLE_TOTAL.metric()
        failures: dict[tuple[str, str], int] = {}
        for (name, _, _, code), number in self._metrics.failures.items():
            failures[name, code] = failures.get((name, code), 0) + number
        for name, model in self._metrics.models.items():
            labels = {"model_name": name, "status": StatusCode.OK.name}
            count.add_sample(count.name, labels, model.answered)
            for (api, entrypoint), histogram in model.request_latency.items():
                _add(latency, {"model_name": name, "API": api, "entrypoint": entrypoint}, histogram)
            if model.examples.count:
                _add(examples, {"model": name}, model.examples)
                total.add_sample(total.name, {"model": name}, model.examples.total)
        for (name, code), number in failures.items():
            count.add_sample(count.name, {"model_name": name, "status": code}, number)
        yield from (count, latency, examples, total)

    def _runs(self) -> Iterator[Metric]:
        """Yield TensorFlow Serving's metrics of runs and batches."""
        runtime = metric_table.RUNTIME_LATENCY.metric()
        queuing = metric_table.QUEUING_LATENCY.metric()
        runs = metric_table.RUN_COUNT.metric()
        histograms = {
            "input_batch_size": metric_table.INPUT_BATCH_SIZE.metric(),
            "processed_batch_size": metric_table.PROCESSED_BATCH_SIZE.metric(),
            "padding_size": metric_table.PADDING_SIZE.metric(),
        }
        for name, model in self._metrics.models.items():
            for api, histogram in model.runtime_latency.items():
                _add(runtime, {"model_name": name, "API": api, "runtime": _RUNTIME}, histogram)
            # Each model has its own threads, so the model's name is the name of the thread pool.
            _add(queuing, {"thread_pool_name": name}, model.queuing_latency)
            runs.add_sample(runs.name, {"model_name": name}, model.runs)
            for metric_name, metric in histograms.items():
                _add(metric, {"model_name": name}, getattr(model, metric_name))
        yield from (runtime, queuing, runs, *histograms.values())

    def _versions(self, servables: Sequence[Servable]) -> Iterator[Metric]:
        """Yield our own metrics of each version and signature, and the gauges of its queue."""
        request = metric_table.REQUEST_SECONDS.metric()
        queue = metric_table.QUEUE_SECONDS.metric()
        run = metric_table.RUN_SECONDS.metric()
        rows = metric_table.ROWS.metric()
        waiting = metric_table.QUEUED_REQUESTS.metric()
        progress = metric_table.ROWS_IN_PROGRESS.metric()
        limit = metric_table.MAX_ENQUEUED_ROWS.metric()
        batched = metric_table.SIGNATURE_BATCHED.metric()
        for servable in servables:
            version_labels = _labels(servable)
            waiting.add_sample(waiting.name, version_labels, servable.queued_requests)
            progress.add_sample(progress.name, version_labels, servable.rows_in_progress)
            limit.add_sample(limit.name, version_labels, servable.max_rows)
            for signature_name, shares in servable.batched.items():
                labels = version_labels | {"signature_name": signature_name}
                batched.add_sample(batched.name, labels, int(shares))
            metrics = self._metrics.servables.get(servable)
            for signature_name, own in metrics.signatures.items() if metrics else ():
                labels = version_labels | {"signature_name": signature_name}
                for (api, entrypoint), histogram in own.request_seconds.items():
                    _add(request, labels | {"API": api, "entrypoint": entrypoint}, histogram)
                _add(queue, labels, own.queue_seconds)
                _add(run, labels, own.run_seconds)
                rows.add_sample(rows.name, labels, own.rows)
        yield from (request, queue, run, rows, waiting, progress, limit, batched)

    def _triton(self) -> Iterator[Metric]:
        """Yield the metrics of each version under Triton's names."""
        of_versions = version_statistics.read(version_statistics.collect(self._metrics))
        values: dict[
            metric_table.MetricRow, Callable[[version_statistics.VersionStatistics], int]
        ] = {
            metric_table.NV_SUCCESS: lambda one: one.success.count,
            metric_table.NV_COUNT: lambda one: one.rows,
            metric_table.NV_EXEC_COUNT: lambda one: one.runs,
            metric_table.NV_REQUEST_US: lambda one: one.success.ns // 1000,
            metric_table.NV_QUEUE_US: lambda one: one.queue.ns // 1000,
            metric_table.NV_INPUT_US: lambda one: one.gathering.ns // 1000,
            metric_table.NV_INFER_US: lambda one: one.running.ns // 1000,
            metric_table.NV_OUTPUT_US: lambda one: one.delivering.ns // 1000,
        }
        for row, value in values.items():
            metric = row.metric()
            for one in of_versions:
                labels = {"model": one.name, "version": str(one.version)}
                metric.add_sample(metric.name, labels, value(one))
            yield metric
        failures = metric_table.NV_FAILURE.metric()
        pending = metric_table.NV_PENDING.metric()
        for servable, counts in version_statistics.served(self._metrics):
            labels = {"model": servable.name, "version": str(servable.version)}
            pending.add_sample(pending.name, labels, servable.queued_requests)
            for reason, codes in _TRITON_REASONS.items():
                number = sum(counts.failures[code] for code in codes)
                failures.add_sample(failures.name, labels | {"reason": reason}, number)
        yield from (failures, pending)

    def _states(self) -> Iterator[Metric]:
        failures = metric_table.FAILURES.metric()
        for (name, api, entrypoint, code), number in self._metrics.failures.items():
            labels = {"model_name": name, "API": api, "entrypoint": entrypoint, "status": code}
            failures.add_sample(failures.name, labels, number)
        in_flight = metric_table.REQUESTS_IN_FLIGHT.metric()
        in_flight.add_sample(in_flight.name, {}, self._metrics.in_flight)
        state = metric_table.MODEL_STATE.metric()
        for name, status in self._statuses():
            if status.state is not State.END or status.error_code is not StatusCode.OK:
                labels = {
                    "model_name": name,
                    "version": str(status.version),
                    "state": status.state.name,
                }
                state.add_sample(state.name, labels, 1)
        label = metric_table.VERSION_LABEL.metric()
        for name, model in self._metrics.catalog.models.items():
            for text, version in model.config.labels.items():
                labels = {"model_name": name, "version": str(version), "label": text}
                label.add_sample(label.name, labels, 1)
        build = metric_table.BUILD_INFO.metric()
        labels = {
            "version": identity.version(),
            "onnxruntime_version": onnxruntime.__version__,
            "provider": self._provider,
        }
        build.add_sample(build.name, labels, 1)
        yield from (failures, in_flight, state, label, build)


def config_reload_failures(*, file: int, rpc: int) -> Metric:
    """The metric of refused changes of the model list.

    Args:
        file: Number of checks of the `model_config_file` that found a list which could not be read
            or served.
        rpc: Number of refused HandleReloadConfigRequest calls.
    """
    metric = metric_table.CONFIG_RELOAD_FAILURES.metric()
    metric.add_sample(metric.name, {"source": "file"}, file)
    metric.add_sample(metric.name, {"source": "rpc"}, rpc)
    return metric


def keys_file_failures(failures: int) -> Metric:
    """The metric of checks that found a broken keys file."""
    metric = metric_table.API_KEYS_FILE_FAILURES.metric()
    metric.add_sample(metric.name, {}, failures)
    return metric


def _access_refusals(refusals: Mapping[Refusal, int]) -> Metric:
    metric = metric_table.ACCESS_REFUSALS.metric()
    for reason in Refusal:
        metric.add_sample(metric.name, {"reason": str(reason)}, refusals.get(reason, 0))
    return metric


def _certificates(watch: CertificateWatch) -> Iterator[Metric]:
    """Yield the metrics of the TLS certificates; none without TLS."""
    if not watch.expires_at:
        return
    expiration = metric_table.CERTIFICATE_EXPIRATION.metric()
    for port, seconds in watch.expires_at.items():
        expiration.add_sample(expiration.name, {"port": port}, seconds)
    refused = metric_table.CERTIFICATE_RELOAD_FAILURES.metric()
    refused.add_sample(refused.name, {}, watch.failures)
    yield from (expiration, refused)


def _labels(servable: Servable) -> dict[str, str]:
    device = servable.provider.removesuffix("ExecutionProvider").lower()
    return {
        "model_name": servable.name,
        "version": str(servable.version),
        "device": device,
        "precision": servable.precision,
    }


def _warm_up(servables: Iterable[Servable]) -> Metric:
    metric = metric_table.WARM_UP_LATENCY.metric()
    for servable in servables:
        histogram = Histogram(LATENCY_MICROSECONDS)
        histogram.observe(1e6 * servable.warm_up_seconds)
        _add(metric, {"model_path": str(servable), "status": StatusCode.OK.name}, histogram)
    return metric


def _add(metric: Metric, labels: dict[str, str], histogram: Histogram) -> None:
    """Add a histogram's samples to a metric."""
    name, counts = f"{metric.name}_bucket", histogram.cumulative()
    of_buckets = _bucket_labels(tuple(labels.items()), histogram.limits)
    metric.samples += [
        Sample(name, each, count) for each, count in zip(of_buckets, counts, strict=True)
    ]
    metric.add_sample(f"{metric.name}_sum", labels, histogram.total)
    metric.add_sample(f"{metric.name}_count", labels, counts[-1])


# Most samples of a page are those of buckets, and an open console collects them each second beside
# the requests. Their labels are made once; nobody changes a sample's labels.
@lru_cache(maxsize=1024)
def _bucket_labels(
    labels: tuple[tuple[str, str], ...], limits: tuple[float, ...]
) -> tuple[dict[str, str], ...]:
    """Return the labels of each bucket of a histogram."""
    # Limits have six significant digits, as in TensorFlow Serving.
    texts = [*(f"{limit:g}" for limit in limits), "+Inf"]
    return tuple({**dict(labels), "le": text} for text in texts)


def render(metrics: Iterable[Metric]) -> bytes:
    """Return a page with these metrics."""
    return "".join(_lines(metrics)).encode()


def _lines(metrics: Iterable[Metric]) -> Iterator[str]:
    """Yield the lines of the text format.

    prometheus_client's own writer appends `_total` to a counter's name, which TensorFlow Serving's
    counters do not have.
    """
    for metric in metrics:
        if not metric.samples:
            continue
        name = metric.name if metric.type == "histogram" else metric.samples[0].name
        kind = "untyped" if metric.type == "unknown" else metric.type
        yield f"# HELP {name} {_escape(metric.documentation)}\n# TYPE {name} {kind}\n"
        yield from map(_line, metric.samples)


def _line(sample: Sample) -> str:
    labels = ",".join(
        f'{name}="{_escape(value, quotes=True)}"' for name, value in sample.labels.items()
    )
    return f"{sample.name}{{{labels}}} {sample.value!r}\n"


def _escape(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text
