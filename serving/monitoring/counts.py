"""The counters and histograms of requests and batches, which `metrics_page` renders.

There are two sets of series. TensorFlow Serving's series keep its names and labels, so that its
dashboards and alerts go on working. Our own series, prefixed `onnx_serving_`, have the labels that
TensorFlow Serving's lack: version, signature, device and precision.

The loaded models bound the number of series: a request for a model that is not served is counted
under the name "unknown", and the page drops the series of a version when it is unloaded.

All counts are used in the event loop only, so that they need no lock. For each request, the hot
path makes one dictionary look-up, observes two histogram values and adds a few numbers. Each batch
is counted when it ends.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Self
from weakref import WeakKeyDictionary

from serving.engine.batching.batch_report import BatchReport
from serving.engine.catalog import Catalog
from serving.engine.servable import Servable
from serving.errors import ServingError, StatusCode
from serving.monitoring.histogram import Histogram, exponential_limits
from serving.monitoring.run_statistics import RunStatistics
from serving.tensors.signature import Signature

UNKNOWN_MODEL = "unknown"
GRPC, REST = "GRPC", "REST"

# TensorFlow Serving's buckets (servables/tensorflow/util.cc, batching/batching_session.cc).
LATENCY_MICROSECONDS = exponential_limits(10, 1.8, 33)
QUEUING_MICROSECONDS = exponential_limits(100, 1.2, 52)
EXAMPLES = exponential_limits(1, 2, 15)
# TensorFlow Serving exports percentiles of batch and padding sizes, which cannot be summed over
# servers. These are histograms instead, with powers of two as limits.
BATCH_ROWS = exponential_limits(1, 2, 11)
PADDING_ROWS = (0.0, *BATCH_ROWS)
SECONDS = exponential_limits(0.0001, 2, 18)

_API_OF_METHOD = {
    "tensorflow/serving/classify": "Classify",
    "tensorflow/serving/regress": "Regress",
}


class ModelMetrics:
    """TensorFlow Serving's series of one model, over all its versions.

    Attributes:
        answered: Number of requests answered OK.
        request_latency: Time of requests answered OK, by (API, entrypoint), in microseconds.
        runtime_latency: Time of runs of the model, by API, in microseconds.
        examples: Number of examples in each request of Classify or Regress.
        queuing_latency: Time that requests waited for a run, in microseconds.
        input_batch_size: Number of rows in each request.
        processed_batch_size: Number of rows in each run, padding included.
        padding_size: Number of padding rows in each run.
        runs: Number of runs of the model.
    """

    def __init__(self) -> None:
        self.answered = 0
        self.request_latency: dict[tuple[str, str], Histogram] = {}
        self.runtime_latency: dict[str, Histogram] = {}
        self.examples = Histogram(EXAMPLES)
        self.queuing_latency = Histogram(QUEUING_MICROSECONDS)
        self.input_batch_size = Histogram(BATCH_ROWS)
        self.processed_batch_size = Histogram(BATCH_ROWS)
        self.padding_size = Histogram(PADDING_ROWS)
        self.runs = 0


class SignatureMetrics:
    """Our own series of one signature of a version.

    Attributes:
        request_seconds: Time of requests answered OK, by (API, entrypoint).
        queue_seconds: Time that requests waited for a run.
        run_seconds: Time of runs of the model.
        rows: Number of rows that the model ran on, without padding.
        statistics: What Triton's statistics add to these.
    """

    def __init__(self) -> None:
        self.request_seconds: dict[tuple[str, str], Histogram] = {}
        self.queue_seconds = Histogram(SECONDS)
        self.run_seconds = Histogram(SECONDS)
        self.rows = 0
        self.statistics = RunStatistics()


class ServableMetrics:
    """The series of one version of a model.

    Attributes:
        signatures: The version's own series, by signature name.
        model: The series of the model over all its versions.
        failures: Number of requests to the version that ended in an error, by status.
        failed_seconds: Time of these requests.
    """

    def __init__(self, signatures: Mapping[str, Signature], model: ModelMetrics) -> None:
        self.signatures = {name: SignatureMetrics() for name in signatures}
        self.model = model
        self.failures: Counter[StatusCode] = Counter()
        self.failed_seconds = 0.0
        self._answers: dict[tuple[str, str, str], Answers] = {}
        self._runtime_latency = {
            name: model.runtime_latency.setdefault(
                _api_of(signature), Histogram(LATENCY_MICROSECONDS)
            )
            for name, signature in signatures.items()
        }

    def answers(self, signature_name: str, api: str, entrypoint: str) -> "Answers":
        """Return the counter for requests of one kind."""
        key = (signature_name, api, entrypoint)
        found = self._answers.get(key)
        if found is None:
            own = self.signatures[signature_name]
            found = self._answers[key] = Answers(self.model, own, api, entrypoint)
        return found

    def batch(self, report: BatchReport) -> None:
        """Count a batch."""
        model, own = self.model, self.signatures[report.signature_name]
        model.queuing_latency.observe_all(report.waits, 1e6)
        own.queue_seconds.observe_all(report.waits)
        for rows, number in Counter(report.request_rows).items():  # few are different
            if rows is not None:
                model.input_batch_size.observe_equal(rows, number)
        latency = self._runtime_latency[report.signature_name]
        own.statistics.batch(report)
        for rows, padding, started, ended, _ in report.runs:
            model.runs += 1
            latency.observe(1e6 * (ended - started))
            own.run_seconds.observe(ended - started)
            if rows is not None:
                own.rows += rows - padding
                model.processed_batch_size.observe(rows)
                model.padding_size.observe(padding)


class Answers:
    """Counts the requests of one servable, signature, API and entrypoint."""

    __slots__ = ("_model", "_request_latency", "_request_seconds")

    def __init__(
        self, model: ModelMetrics, own: SignatureMetrics, api: str, entrypoint: str
    ) -> None:
        key = (api, entrypoint)
        self._model = model
        self._request_latency = model.request_latency.setdefault(
            key, Histogram(LATENCY_MICROSECONDS)
        )
        self._request_seconds = own.request_seconds.setdefault(key, Histogram(SECONDS))

    def count(self, seconds: float, examples: int = 0) -> None:
        """Count a request that was answered OK.

        Args:
            seconds: Time from request to answer.
            examples: Number of its examples; 0 for an API that does not count examples.
        """
        self._model.answered += 1
        if examples:
            self._model.examples.observe(examples)
        self._request_latency.observe(1e6 * seconds)
        self._request_seconds.observe(seconds)


class Outcome:
    """Counts one request; a context manager for the time that it takes.

    Attributes:
        version: Version number that the request names; None: the latest.
        label: Version label that the request names; None: it names none.
    """

    __slots__ = ("_answers", "_examples", "_kind", "_metrics", "_started", "label", "version")

    def __init__(  # noqa: PLR0917 - called by `Metrics.request` alone
        self,
        metrics: "Metrics",
        model_name: str,
        api: str,
        entrypoint: str,
        version: int | None,
        label: str | None,
    ) -> None:
        self._metrics = metrics
        self._kind = (model_name, api, entrypoint)
        self.version = version
        self.label = label
        self._answers: Answers | None = None
        self._examples = 0

    def __enter__(self) -> Self:
        self._metrics.in_flight += 1
        self._started = time.perf_counter()
        return self

    def answered(self, servable: Servable, signature_name: str, *, examples: int = 0) -> None:
        """Note that the request is answered OK, with the number of its examples if counted."""
        _, api, entrypoint = self._kind
        self._answers = self._metrics.answers(servable, signature_name, api, entrypoint)
        self._examples = examples

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        metrics = self._metrics
        metrics.in_flight -= 1
        seconds = time.perf_counter() - self._started
        if error is not None:
            model_name, api, entrypoint = self._kind
            metrics.count_failure(model_name, api, entrypoint, error)
            metrics.count_failed_version(model_name, self.version, self.label, error, seconds)
        elif self._answers is not None:
            self._answers.count(seconds, self._examples)


class Metrics:
    """All counts of a server.

    Attributes:
        catalog: The server's models.
        models: TensorFlow Serving's series, by model name.
        servables: Series of each servable; an entry is dropped together with its servable.
        failures: Number of requests not answered OK, by (model name, API, entrypoint, status).
        in_flight: Number of inference requests that are being answered now.
        refused_reloads: Number of refused HandleReloadConfigRequest calls.
        changes: Number of times that servables have come or their series have gone. Counters that
            are kept are to be looked up again after a change.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.models: dict[str, ModelMetrics] = {}
        self.servables: WeakKeyDictionary[Servable, ServableMetrics] = WeakKeyDictionary()
        self.failures: dict[tuple[str, str, str, str], int] = {}
        self.in_flight = 0
        self.refused_reloads = 0
        self.changes = 0

    def watch(self, servable: Servable) -> None:
        """Count the batches of a servable from now on; call this in the event loop."""
        metrics = ServableMetrics(
            servable.signatures, self.models.setdefault(servable.name, ModelMetrics())
        )
        self.servables[servable] = metrics
        self.changes += 1
        servable.report_batches(metrics.batch)

    def answers(
        self, servable: Servable, signature_name: str, api: str, entrypoint: str
    ) -> Answers | None:
        """Return the counter for requests of one kind; keep it to save the look-up.

        Args:
            servable: The servable that answers the requests.
            signature_name: One of its signatures.
            api: `Predict`, `Classify`, ...
            entrypoint: `GRPC` or `REST`.

        Returns:
            The counter; None if `watch` was not called with the servable.
        """
        metrics = self.servables.get(servable)
        return None if metrics is None else metrics.answers(signature_name, api, entrypoint)

    def request(
        self,
        model_name: str,
        api: str,
        entrypoint: str,
        version: int | None = None,
        label: str | None = None,
    ) -> Outcome:
        """Count a request, the time it takes and how it ends.

        Args:
            model_name: Name of the model, as the caller wrote it.
            api: `Predict`, `Classify`, ...
            entrypoint: `GRPC` or `REST`.
            version: Version number that the request names; None: the latest.
            label: Version label that the request names; None: it names none.

        Returns:
            A context manager for the time of the request; call its `answered` when the request is
            answered OK.
        """
        return Outcome(self, model_name, api, entrypoint, version, label)

    def count_failure(
        self, model_name: str, api: str, entrypoint: str, error: BaseException
    ) -> None:
        """Count a request that ended in an error; an unknown model's name counts as "unknown"."""
        known = model_name in self.catalog.availability
        status = _status_of(error)
        key = (model_name if known else UNKNOWN_MODEL, api, entrypoint, status.name)
        self.failures[key] = self.failures.get(key, 0) + 1

    def count_failed_version(
        self,
        model_name: str,
        version: int | None,
        label: str | None,
        error: BaseException,
        seconds: float,
    ) -> None:
        """Count a request that ended in an error for the loaded version that it asked for, if any.

        Args:
            model_name: Name of the model, as the caller wrote it.
            version: Version number; None or 0 for the latest.
            label: Version label; takes the place of `version`.
            error: The error.
            seconds: Time from request to error.
        """
        model = self.catalog.models.get(model_name)
        if model is None or not model.servables:
            return
        if label is not None:
            version = model.config.labels.get(label, -1)
        servable = model.servables.get(version or max(model.servables))
        metrics = self.servables.get(servable) if servable else None
        if metrics:
            metrics.failures[_status_of(error)] += 1
            metrics.failed_seconds += seconds

    def forget_gone_models(self) -> None:
        """Drop the series of models that are no longer served."""
        served = self.catalog.availability.keys()
        # While a model is being added, it has servables before the catalog lists its name.
        servables = [reference() for reference in self.servables.keyrefs()]
        loaded = {servable.name for servable in servables if servable and not servable.closed}
        for name in list(self.models):
            if name not in served and name not in loaded:
                del self.models[name]
                self.changes += 1
        for key in list(self.failures):
            if key[0] not in {*served, UNKNOWN_MODEL}:
                del self.failures[key]


def _api_of(signature: Signature) -> str:
    return _API_OF_METHOD.get(signature.method_name, "Predict")


def _status_of(error: BaseException) -> StatusCode:
    if isinstance(error, ServingError):
        return error.code
    if isinstance(error, asyncio.CancelledError):
        return StatusCode.CANCELLED
    return StatusCode.INTERNAL
