"""The figures of a result that tables, plots and comparisons show, with units and direction."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from loadtest.report_schema import Report, Result
from loadtest.reports.unknown import NotAvailable

_NOT_FINISHED = "no request was finished"
# Why a field of a result, or a section on the way to it, is None. Percentiles of the latency are
# explained by `_needs`, those of server times together.
_REASONS = {
    "report.throughput.requests_per_second": _NOT_FINISHED,
    "report.throughput.images_per_second": _NOT_FINISHED,
    "report.goodput": "goodput needs a latency bound (--slo-ms)",
    "report.goodput.per_second": _NOT_FINISHED,
    "report.capacity": "only find-capacity searches for a rate",
    "report.capacity.rate_per_second": "no rate passed the search",
    "report.client.lag_ms": "a closed loop has no due times to lag behind",
    "report.client.lag_ms.p99": "too few requests were sent for the p99 of the lag",
    "report.client.cpu_us_per_request": _NOT_FINISHED,
    "server_process": "the load test did not start the server and cannot see its CPU and memory",
    "server_process.cpu_us_per_request": _NOT_FINISHED,
    "server_process.gpu": "the server used no GPU",
    "report.server": "no answer had server times (--server-timing asks for them)",
    "report.floor": "the null server was not measured (--floor)",
    "report.floor.p50_ms": "the null server gave too few answers for a p50",
    "report.floor.p99_ms": "the null server gave too few answers for a p99",
}
_LATENCY = "report.latency_ms."
_SERVER_TIMES = "report.server."


@dataclass(frozen=True)
class Measure:
    """One figure.

    Attributes:
        title: Heading in tables, with the unit.
        path: Dotted path of the figure in a result.
        digits: Digits after the point in tables.
        better: Whether lower or higher values are better; None if neither is.
        factor: What the field is multiplied with, for another unit.
    """

    title: str
    path: str
    digits: int
    better: Literal["lower", "higher"] | None
    factor: float = 1.0

    def value(self, result: Result) -> float | None:
        """Return the figure of a result; None if the result has none."""
        number: float | None = value_at(result, self.path)
        return number if number is None or self.factor == 1.0 else self.factor * number

    def text(self, number: float) -> str:
        """Return the number as tables show it, with at least three significant digits."""
        return f"{number:,.{self.digits if number < 100 else 0}f}"

    def cell(self, result: Result) -> str:
        """Return the figure of a result as text, or why there is none."""
        number = self.value(result)
        return NotAvailable(why_missing(result, self.path)) if number is None else self.text(number)


@dataclass(frozen=True)
class Spread:
    """A figure over repeats of the same configuration."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Self | None:
        """Return the spread of the values that are not None; None if all are."""
        present = [value for value in values if value is not None]
        if not present:
            return None
        return cls(statistics.median(present), min(present), max(present), len(present))


def value_at(section: object, path: str) -> Any:  # noqa: ANN401 - each field has its own type
    """Return the field at a dotted path, or None if a section on the way is None."""
    for name in path.split("."):
        if section is None:
            return None
        section = getattr(section, name)
    return section


def why_missing(result: Result, path: str) -> str:
    """Return in words why the field at a dotted path is None.

    Args:
        result: The result.
        path: Path of a figure of MEASURES, or of a percentile of the latency.
    """
    names = path.split(".")
    prefixes = (".".join(names[:count]) for count in range(1, len(names) + 1))
    none = next((prefix for prefix in prefixes if value_at(result, prefix) is None), path)
    if none.startswith(_LATENCY):
        return needs(result.report.latency_ms.requests_needed, none.removeprefix(_LATENCY), "a run")
    if none.startswith(_SERVER_TIMES):
        return "too few answers had server times"
    if none == "report.accuracy.top1":
        return why_no_top1(result.report)
    return _REASONS[none]


def why_no_top1(report: Report) -> str:
    """Return why a report has no top-1."""
    checked = report.checked
    return (checked and checked.no_labels) or "nothing was answered"


def needs(requests_needed: Mapping[str, int], name: str, where: str) -> str:
    """Return how many answers a percentile needs: "p99.9 needs 6,636 answers in a run".

    Args:
        requests_needed: See Latency.requests_needed.
        name: Name of the percentile there, such as "p99_9".
        where: What must have the answers: "a run".
    """
    needed = requests_needed.get(name)
    title = name.replace("_", ".")
    if needed is None:
        return f"too few answers in {where} for {title}"
    return f"{title} needs {needed:,} answers in {where}"


def missing(result: Result) -> list[str]:
    """Return why figures of a result are missing, each reason once."""
    percentiles = [_LATENCY + name for name in result.report.latency_ms.requests_needed]
    paths = dict.fromkeys([*percentiles, *(measure.path for measure in MEASURES.values())])
    reasons = (why_missing(result, path) for path in paths if value_at(result, path) is None)
    return list(dict.fromkeys(reasons))


_MEBIBYTES = 1 / 2**20

MEASURES = {
    "p50_ms": Measure("p50 (ms)", "report.latency_ms.p50", 2, "lower"),
    "p90_ms": Measure("p90 (ms)", "report.latency_ms.p90", 2, "lower"),
    "p99_ms": Measure("p99 (ms)", "report.latency_ms.p99", 2, "lower"),
    "p99_9_ms": Measure("p99.9 (ms)", "report.latency_ms.p99_9", 2, "lower"),
    "requests_per_second": Measure(
        "requests/s", "report.throughput.requests_per_second", 1, "higher"
    ),
    "images_per_second": Measure("images/s", "report.throughput.images_per_second", 1, "higher"),
    "goodput_per_second": Measure("goodput (1/s)", "report.goodput.per_second", 1, "higher"),
    "capacity_per_second": Measure(
        "capacity (requests/s)", "report.capacity.rate_per_second", 1, "higher"
    ),
    "top1_percent": Measure("top-1 (%)", "report.accuracy.top1", 2, "higher", 100),
    "lag_p99_ms": Measure("client lag p99 (ms)", "report.client.lag_ms.p99", 2, None),
    "client_cpu_percent": Measure(
        "client CPU (% of a core)", "report.client.cpu_share", 0, None, 100
    ),
    "client_cpu_us": Measure(
        "client CPU (us/request)", "report.client.cpu_us_per_request", 0, None
    ),
    "server_cpu_us": Measure(
        "server CPU (us/request)", "server_process.cpu_us_per_request", 0, "lower"
    ),
    "server_memory_mib": Measure(
        "server memory (MiB)", "server_process.memory_bytes", 0, "lower", _MEBIBYTES
    ),
    "gpu_memory_mib": Measure(
        "GPU memory (MiB)", "server_process.gpu.memory_used_bytes", 0, "lower", _MEBIBYTES
    ),
    "server_queue_ms": Measure("server queue p50 (ms)", "report.server.queue_ms.p50", 3, "lower"),
    "server_compute_ms": Measure(
        "server compute p50 (ms)", "report.server.compute_ms.p50", 3, "lower"
    ),
    "server_serialise_ms": Measure(
        "server serialise p50 (ms)", "report.server.serialise_ms.p50", 3, "lower"
    ),
    "floor_p50_ms": Measure("null server p50 (ms)", "report.floor.p50_ms", 2, None),
    "floor_p99_ms": Measure("null server p99 (ms)", "report.floor.p99_ms", 2, None),
}
# The costs of a load on both sides; reports show them in a separate table.
COSTS = tuple(MEASURES)[tuple(MEASURES).index("lag_p99_ms") :]
