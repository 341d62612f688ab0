"""The figures of a result that tables, plots and comparisons show: units, and what is better."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Self

from loadtest.reports.collection import Result


@dataclass(frozen=True)
class Measure:
    """One figure.

    Attributes:
        title: For people, with the unit.
        value: Reads it; None where a result has none.
        digits: Digits after the point when it is shown.
        better: Which way is better; None: neither.
    """

    title: str
    value: Callable[[Result], float | None]
    digits: int
    better: Literal["lower", "higher"] | None

    def text(self, number: float | None) -> str:
        """As tables show it: at least three digits that count."""
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
        """Of the values that are there; None if there are none."""
        present = [value for value in values if value is not None]
        if not present:
            return None
        return cls(statistics.median(present), min(present), max(present), len(present))


def _latency(name: str) -> Callable[[Result], float | None]:
    return lambda result: result["report"]["latency_ms"][name]  # type: ignore[literal-required]


def _goodput(name: str) -> Callable[[Result], float | None]:
    def value(result: Result) -> float | None:
        goodput = result["report"]["goodput"]
        return goodput and goodput[name]  # type: ignore[literal-required]

    return value


def _capacity(result: Result) -> float | None:
    capacity = result["report"]["capacity"]
    return capacity and capacity["rate_per_second"]


def _server_process(name: str) -> Callable[[Result], float | None]:
    def value(result: Result) -> float | None:
        process = result["server_process"]
        return process and process[name]  # type: ignore[literal-required]

    return value


def _server_time(part: str) -> Callable[[Result], float | None]:
    def value(result: Result) -> float | None:
        server = result["report"]["server"]
        return server and server[part]["p50"]  # type: ignore[literal-required]

    return value


def _floor(name: str) -> Callable[[Result], float | None]:
    def value(result: Result) -> float | None:
        floor = result["report"]["floor"]
        return floor and floor[name]  # type: ignore[literal-required]

    return value


def _mebibytes(read: Callable[[Result], float | None]) -> Callable[[Result], float | None]:
    def value(result: Result) -> float | None:
        size = read(result)
        return None if size is None else size / 2**20

    return value


def _gpu_memory(result: Result) -> float | None:
    process = result["server_process"]
    gpu = process and process["gpu"]
    return gpu and gpu["memory_used_bytes"]


def _top1(result: Result) -> float | None:
    top1 = result["report"]["accuracy"]["top1"]
    return None if top1 is None else 100 * top1


def _lag(result: Result) -> float | None:
    lag = result["report"]["client"]["lag_ms"]
    return lag and lag["p99"]


MEASURES = {
    "p50_ms": Measure("p50 (ms)", _latency("p50"), 2, "lower"),
    "p90_ms": Measure("p90 (ms)", _latency("p90"), 2, "lower"),
    "p99_ms": Measure("p99 (ms)", _latency("p99"), 2, "lower"),
    "p99_9_ms": Measure("p99.9 (ms)", _latency("p99_9"), 2, "lower"),
    "requests_per_second": Measure(
        "requests/s",
        lambda result: result["report"]["throughput"]["requests_per_second"],
        1,
        "higher",
    ),
    "images_per_second": Measure(
        "images/s", lambda result: result["report"]["throughput"]["images_per_second"], 1, "higher"
    ),
    "goodput_per_second": Measure("goodput (1/s)", _goodput("per_second"), 1, "higher"),
    "capacity_per_second": Measure("capacity (requests/s)", _capacity, 1, "higher"),
    "top1_percent": Measure("top-1 (%)", _top1, 2, "higher"),
    "lag_p99_ms": Measure("client lag p99 (ms)", _lag, 2, None),
    "client_cpu_percent": Measure(
        "client CPU (% of a core)",
        lambda result: 100 * result["report"]["client"]["cpu_share"],
        0,
        None,
    ),
    "client_cpu_us": Measure(
        "client CPU (us/request)",
        lambda result: result["report"]["client"]["cpu_us_per_request"],
        0,
        None,
    ),
    "server_cpu_us": Measure(
        "server CPU (us/request)", _server_process("cpu_us_per_request"), 0, "lower"
    ),
    "server_memory_mib": Measure(
        "server memory (MiB)", _mebibytes(_server_process("memory_bytes")), 0, "lower"
    ),
    "gpu_memory_mib": Measure("GPU memory (MiB)", _mebibytes(_gpu_memory), 0, "lower"),
    "server_queue_ms": Measure("server queue p50 (ms)", _server_time("queue_ms"), 3, "lower"),
    "server_compute_ms": Measure("server compute p50 (ms)", _server_time("compute_ms"), 3, "lower"),
    "server_serialise_ms": Measure(
        "server serialise p50 (ms)", _server_time("serialise_ms"), 3, "lower"
    ),
    "floor_p50_ms": Measure("null server p50 (ms)", _floor("p50_ms"), 2, None),
    "floor_p99_ms": Measure("null server p99 (ms)", _floor("p99_ms"), 2, None),
}
# What a load costs on either side; a table of its own.
COSTS = tuple(MEASURES)[tuple(MEASURES).index("lag_p99_ms") :]
