"""A report boiled down to what a README quotes: a few figures of each model, with their origin.

The digest is small enough to be committed, so that a table can be checked against it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypedDict

from loadtest.report_schema import Report
from loadtest.reports import facts
from loadtest.reports.collection import Collection
from loadtest.reports.configurations import (
    CAPACITY,
    Configuration,
    Subject,
    accuracy,
    configurations,
)
from loadtest.reports.measures import Spread

_FACTS = frozenset(
    {
        *("measured", "commit", "processor", "cores", "processor time allowed", "architecture"),
        *("load average at the start", "versions", "server's versions", "test images", "target"),
        "GPU",
    }
)


class Number(TypedDict):
    """A figure over repeats of one configuration."""

    median: float
    low: float
    high: float
    repeats: int


class QuotedLoad(TypedDict):
    """What a model did under one load.

    Attributes:
        load: In words.
        runs: Repeats.
        valid_runs: Those that are VALID, of find-capacity those that were confirmed as well. All
            other figures are theirs.
        requests: Answered requests.
        images: Images answered.
        p50_ms: None where it was not measured, as are the next ones.
        p99_ms: Likewise.
        images_per_second: Likewise.
        capacity_per_second: Highest rate within the bound that the load names.
    """

    load: str
    runs: int
    valid_runs: int
    requests: int
    images: int
    p50_ms: Number | None
    p99_ms: Number | None
    images_per_second: Number | None
    capacity_per_second: Number | None


class Top1(TypedDict):
    """Accuracy of the timed answers; bounds of the 95 % interval for the distinct images."""

    top1: float
    low: float
    high: float
    distinct_images: int
    differing_answers: int | None
    compared_answers: int


class QuotedRow(TypedDict):
    """One model in one precision; loads by kind, the fastest one of each."""

    model: str
    version: str
    precision: str
    provider: str
    top1: Top1 | None
    memory_mib: Number | None
    loads: dict[str, QuotedLoad]


class Digest(TypedDict):
    """What a README quotes, and how it was measured."""

    name: str
    rows: list[QuotedRow]
    facts: dict[str, str]


def digest(collection: Collection) -> Digest:
    """Boil a report down."""
    measured = configurations(collection["results"])
    subjects = dict.fromkeys(configuration.subject for configuration in measured)
    return {
        "name": collection["name"],
        "rows": [
            _row(subject, [one for one in measured if one.subject == subject])
            for subject in subjects
        ],
        "facts": {name: text for name, text in facts.lines(collection) if name in _FACTS},
    }


def _row(subject: Subject, own: Sequence[Configuration]) -> QuotedRow:
    loads: dict[str, QuotedLoad] = {}
    for kind in ("single-stream", "multi-stream", "users", "offline", CAPACITY):
        able = [one for one in own if one.load.kind == kind]
        if able:
            loads[kind] = _load(max(able, key=_speed))
    memory = (one.spread("server_memory_mib") for one in own)
    return {
        "model": subject.model,
        "version": subject.version,
        "precision": subject.precision,
        "provider": subject.provider,
        "top1": _top1(own),
        "memory_mib": _number(_highest(memory)),
        "loads": loads,
    }


def _load(configuration: Configuration) -> QuotedLoad:
    runs = len(configuration.results)
    valid = [result for result in configuration.results if _quotable(result["report"])]
    quoted = replace(configuration, results=valid)
    return {
        "load": str(configuration.load),
        "runs": runs,
        "valid_runs": len(valid),
        "requests": quoted.requests,
        "images": sum(report["accuracy"]["n"] for report in quoted.reports),
        "p50_ms": _number(quoted.spread("p50_ms")),
        "p99_ms": _number(quoted.spread("p99_ms")),
        "images_per_second": _number(quoted.spread("images_per_second")),
        "capacity_per_second": _number(quoted.spread("capacity_per_second")),
    }


def _quotable(report: Report) -> bool:
    capacity = report["capacity"]
    return report["validity"]["valid"] and (capacity is None or capacity["confirmed"])


def _top1(own: Sequence[Configuration]) -> Top1 | None:
    reports = [report for one in own for report in one.reports]
    total = accuracy(reports)
    if total is None:
        return None
    compared = [found for report in reports if (found := report["mismatches"]) is not None]
    return {
        "top1": total.top1,
        "low": total.low,
        "high": total.high,
        "distinct_images": total.distinct_images,
        "differing_answers": sum(one["differing"] for one in compared) if compared else None,
        "compared_answers": sum(one["compared"] for one in compared),
    }


def _speed(configuration: Configuration) -> tuple[bool, float]:
    spread = configuration.spread("images_per_second")
    return configuration.valid, spread.median if spread else 0.0


def _highest(spreads: Iterable[Spread | None]) -> Spread | None:
    known = [spread for spread in spreads if spread is not None]
    return max(known, key=lambda spread: spread.median, default=None)


def _number(spread: Spread | None) -> Number | None:
    if spread is None:
        return None
    return {
        "median": _digits(spread.median),
        "low": _digits(spread.low),
        "high": _digits(spread.high),
        "repeats": spread.n,
    }


def _digits(value: float) -> float:
    """Four digits that count: no machine measures more, and the file stays readable."""
    return float(f"{value:.4g}")
