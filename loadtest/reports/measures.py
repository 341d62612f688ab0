"""The figures of a result that tables, plots and comparisons show, with units and direction."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self

from loadtest.report_schema import Result


@dataclass(frozen=True)
class Measure:
    """One figure.

    Attributes:
        title: Heading in tables, with the unit.
        value: Reads the figure from a result; gives None if the result has none.
        digits: Digits after the point in tables.
        better: Whether lower or higher values are better; None if neither is.
    """

    title: str
    value: Callable[[Result], float | None]
    digits: int
    better: Literal["lower", "higher"] | None

    def text(self, number: float | None) -> str:
        """Return the number as tables show it, with at least three significant digits."""
        return "n/a" if number is None else f"{number:,.{self.digits if number < 100 else 0}f}"


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


def _field(path: str, factor: float = 1.0) -> Callable[[Result], float | None]:
    """Return a function that reads a field of a result and multiplies it."""

    def value(result: Result) -> float | None:
        number: float | None = value_at(result, path)
        return number if number is None or factor == 1.0 else factor * number

    return value


_MEBIBYTES = 1 / 2**20

MEASURES = {
    "p50_ms": Measure("p50 (ms)", _field("report.latency_ms.p50"), 2, "lower"),
    "p90_ms": Measure("p90 (ms)", _field("report.latency_ms.p90"), 2, "lower"),
    "p99_ms": Measure("p99 (ms)", _field("report.latency_ms.p99"), 2, "lower"),
    "p99_9_ms": Measure("p99.9 (ms)", _field("report.latency_ms.p99_9"), 2, "lower"),
    "requests_per_second": Measure(
        "requests/s", _field("report.throughput.requests_per_second"), 1, "higher"
    ),
    "images_per_second": Measure(
        "images/s", _field("report.throughput.images_per_second"), 1, "higher"
    ),
    "goodput_per_second": Measure(
        "goodput (1/s)", _field("report.goodput.per_second"), 1, "higher"
    ),
    "capacity_per_second": Measure(
        "capacity (requests/s)", _field("report.capacity.rate_per_second"), 1, "higher"
    ),
    "top1_percent": Measure("top-1 (%)", _field("report.accuracy.top1", 100), 2, "higher"),
    "lag_p99_ms": Measure("client lag p99 (ms)", _field("report.client.lag_ms.p99"), 2, None),
    "client_cpu_percent": Measure(
        "client CPU (% of a core)", _field("report.client.cpu_share", 100), 0, None
    ),
    "client_cpu_us": Measure(
        "client CPU (us/request)", _field("report.client.cpu_us_per_request"), 0, None
    ),
    "server_cpu_us": Measure(
        "server CPU (us/request)", _field("server_process.cpu_us_per_request"), 0, "lower"
    ),
    "server_memory_mib": Measure(
        "server memory (MiB)", _field("server_process.memory_bytes", _MEBIBYTES), 0, "lower"
    ),
    "gpu_memory_mib": Measure(
        "GPU memory (MiB)", _field("server_process.gpu.memory_used_bytes", _MEBIBYTES), 0, "lower"
    ),
    "server_queue_ms": Measure(
        "server queue p50 (ms)", _field("report.server.queue_ms.p50"), 3, "lower"
    ),
    "server_compute_ms": Measure(
        "server compute p50 (ms)", _field("report.server.compute_ms.p50"), 3, "lower"
    ),
    "server_serialise_ms": Measure(
        "server serialise p50 (ms)", _field("report.server.serialise_ms.p50"), 3, "lower"
    ),
    "floor_p50_ms": Measure("null server p50 (ms)", _field("report.floor.p50_ms"), 2, None),
    "floor_p99_ms": Measure("null server p99 (ms)", _field("report.floor.p99_ms"), 2, None),
}
# The costs of a load on both sides; reports show them in a separate table.
COSTS = tuple(MEASURES)[tuple(MEASURES).index("lag_p99_ms") :]
