"""The table of the server's metrics, each with name, type, labels and meaning.

`metrics_page` and the supervisor of several workers add the samples. `make docs` writes
docs/metrics.md from this table.
"""

from dataclasses import dataclass
from typing import Literal

from prometheus_client import Metric

_TFS = ":tensorflow:serving:"
_BATCHING = f"{_TFS}batching_session:"
_OWN = "onnx_serving_"
_TRITON = "nv_inference_"
_VERSION = ("model_name", "version", "device", "precision")
_SIGNATURE = (*_VERSION, "signature_name")
_TRITON_VERSION = ("model", "version")


@dataclass(frozen=True)
class MetricRow:
    """One metric.

    Attributes:
        name: Name on the page; a histogram has the series `_bucket`, `_sum` and `_count`.
        kind: Type of the metric in Prometheus.
        help: The metric's `# HELP` line.
        labels: Names of its labels, without a histogram's `le`.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    def metric(self) -> Metric:
        """Return a metric without samples."""
        return Metric(self.name, self.help, self.kind)


REQUEST_COUNT = MetricRow(
    f"{_TFS}request_count", "counter", "The total number of requests.", ("model_name", "status")
)
REQUEST_LATENCY = MetricRow(
    f"{_TFS}request_latency",
    "histogram",
    "Distribution of wall time (in microseconds) for requests answered OK.",
    ("model_name", "API", "entrypoint"),
)
EXAMPLE_COUNTS = MetricRow(
    f"{_TFS}request_example_counts", "histogram", "The number of examples per request.", ("model",)
)
EXAMPLE_TOTAL = MetricRow(
    f"{_TFS}request_example_count_total", "counter", "The total number of examples.", ("model",)
)
RUNTIME_LATENCY = MetricRow(
    f"{_TFS}runtime_latency",
    "histogram",
    "Distribution of wall time (in microseconds) of one run of the model.",
    ("model_name", "API", "runtime"),
)
QUEUING_LATENCY = MetricRow(
    f"{_BATCHING}queuing_latency",
    "histogram",
    "Distribution of wall time spent (in microseconds) in queuing.",
    ("thread_pool_name",),
)
RUN_COUNT = MetricRow(
    f"{_BATCHING}wrapped_run_count", "counter", "Total count of runs.", ("model_name",)
)
INPUT_BATCH_SIZE = MetricRow(
    f"{_BATCHING}input_batch_size",
    "histogram",
    "Distribution of rows per request.",
    ("model_name",),
)
PROCESSED_BATCH_SIZE = MetricRow(
    f"{_BATCHING}processed_batch_size",
    "histogram",
    "Distribution of rows per run, padding included.",
    ("model_name",),
)
PADDING_SIZE = MetricRow(
    f"{_BATCHING}padding_size",
    "histogram",
    "Distribution of padding rows per run.",
    ("model_name",),
)
WARM_UP_LATENCY = MetricRow(
    f"{_TFS}model_warmup_latency",
    "histogram",
    "Distribution of wall time (in microseconds) for warming up the model.",
    ("model_path", "status"),
)
REQUEST_SECONDS = MetricRow(
    f"{_OWN}request_duration_seconds",
    "histogram",
    "Time of requests answered OK.",
    (*_SIGNATURE, "API", "entrypoint"),
)
QUEUE_SECONDS = MetricRow(
    f"{_OWN}queue_duration_seconds", "histogram", "Time in the queue.", _SIGNATURE
)
RUN_SECONDS = MetricRow(
    f"{_OWN}run_duration_seconds", "histogram", "Time of one run of the model.", _SIGNATURE
)
ROWS = MetricRow(
    f"{_OWN}rows_total", "counter", "Rows that models ran on, padding excluded.", _SIGNATURE
)
QUEUED_REQUESTS = MetricRow(f"{_OWN}queued_requests", "gauge", "Requests in the queue.", _VERSION)
ROWS_IN_PROGRESS = MetricRow(f"{_OWN}rows_in_progress", "gauge", "Rows that wait or run.", _VERSION)
MAX_ENQUEUED_ROWS = MetricRow(
    f"{_OWN}max_enqueued_rows",
    "gauge",
    "Most rows that may wait or run; requests beyond it are refused with UNAVAILABLE.",
    _VERSION,
)
SIGNATURE_BATCHED = MetricRow(
    f"{_OWN}signature_batched",
    "gauge",
    "1 if requests share runs, 0 if each runs alone.",
    _SIGNATURE,
)
FAILURES = MetricRow(
    f"{_OWN}failures_total",
    "counter",
    "Requests that ended in an error.",
    ("model_name", "API", "entrypoint", "status"),
)
REQUESTS_IN_FLIGHT = MetricRow(f"{_OWN}requests_in_flight", "gauge", "Requests being answered.")
MODEL_STATE = MetricRow(
    f"{_OWN}model_state",
    "gauge",
    "1 for the state of each version; END only for versions that failed to load.",
    ("model_name", "version", "state"),
)
VERSION_LABEL = MetricRow(
    f"{_OWN}version_label",
    "gauge",
    "1 for each version label and the version that it leads to.",
    ("model_name", "version", "label"),
)
BUILD_INFO = MetricRow(
    f"{_OWN}build_info",
    "gauge",
    "Version and execution provider.",
    ("version", "onnxruntime_version", "provider"),
)
CONFIG_RELOAD_FAILURES = MetricRow(
    f"{_OWN}config_reload_failures_total",
    "counter",
    "Changes of the model list that were refused; the models served before stay in service. A "
    "broken file counts at every check.",
    ("source",),
)
ACCESS_REFUSALS = MetricRow(
    f"{_OWN}access_refusals_total",
    "counter",
    "Calls refused because of who called: no_key, wrong_key, expired_key, role, model, or limit "
    "for a caller's rate and calls in flight.",
    ("reason",),
)
API_KEYS_FILE_FAILURES = MetricRow(
    f"{_OWN}api_keys_file_failures_total",
    "counter",
    "Checks of the keys file that found it broken; the keys read before stay valid.",
)
CERTIFICATE_EXPIRATION = MetricRow(
    f"{_OWN}certificate_expiration_timestamp_seconds",
    "gauge",
    "When the TLS certificate of the port expires, in seconds since 1970.",
    ("port",),
)
CERTIFICATE_RELOAD_FAILURES = MetricRow(
    f"{_OWN}certificate_reload_failures_total",
    "counter",
    "Checks of the TLS files that found files which cannot be used; the certificates read before "
    "stay in use.",
)
WORKERS = MetricRow(f"{_OWN}workers", "gauge", "Worker processes that --workers asks for.")
WORKERS_READY = MetricRow(f"{_OWN}workers_ready", "gauge", "Worker processes that answer.")
WORKER_RESTARTS = MetricRow(
    f"{_OWN}worker_restarts_total", "counter", "Worker processes that were started again."
)

# Triton's names and labels, with --triton_metrics; the help lines are this server's.
NV_SUCCESS = MetricRow(
    f"{_TRITON}request_success", "counter", "Requests answered OK.", _TRITON_VERSION
)
NV_FAILURE = MetricRow(
    f"{_TRITON}request_failure",
    "counter",
    "Requests that ended in an error; the reason is REJECTED, CANCELED, BACKEND or OTHER.",
    (*_TRITON_VERSION, "reason"),
)
NV_COUNT = MetricRow(
    f"{_TRITON}count",
    "counter",
    "Rows that the model ran on, padding and failed runs excluded.",
    _TRITON_VERSION,
)
NV_EXEC_COUNT = MetricRow(
    f"{_TRITON}exec_count", "counter", "Runs of the model that did not fail.", _TRITON_VERSION
)
NV_REQUEST_US = MetricRow(
    f"{_TRITON}request_duration_us",
    "counter",
    "Time of all requests answered OK together (in microseconds).",
    _TRITON_VERSION,
)
NV_QUEUE_US = MetricRow(
    f"{_TRITON}queue_duration_us",
    "counter",
    "Time of all requests in the queue (in microseconds).",
    _TRITON_VERSION,
)
NV_INPUT_US = MetricRow(
    f"{_TRITON}compute_input_duration_us",
    "counter",
    "Time of all requests while their batch was gathered (in microseconds).",
    _TRITON_VERSION,
)
NV_INFER_US = MetricRow(
    f"{_TRITON}compute_infer_duration_us",
    "counter",
    "Time of all requests in runs of the model (in microseconds).",
    _TRITON_VERSION,
)
NV_OUTPUT_US = MetricRow(
    f"{_TRITON}compute_output_duration_us",
    "counter",
    "Time of all requests from the run to the event loop (in microseconds).",
    _TRITON_VERSION,
)
NV_PENDING = MetricRow(
    f"{_TRITON}pending_request_count", "gauge", "Requests in the queue.", _TRITON_VERSION
)

METRICS: tuple[MetricRow, ...] = tuple(
    row for row in list(globals().values()) if isinstance(row, MetricRow)
)
