"""The digest of a report: the figures of each model that a README quotes, with their origin.

The digest is small enough to be committed, so that the README's table can be checked against it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Annotated, get_args

from msgspec import Struct

from loadtest.report_schema import Collection, Report, Result
from loadtest.report_sections_schema import DurationClass, means
from loadtest.reports import facts
from loadtest.reports.configurations import (
    CAPACITY,
    Configuration,
    Subject,
    accuracy,
    configurations,
    failed_checks,
)
from loadtest.reports.facts import Place
from loadtest.reports.measures import MEASURES, Spread, why_missing
from loadtest.reports.sides import in_turns
from training import schemas

_FACTS = frozenset(
    {
        *("measured", "commit", "processor", "cores", "processor time allowed", "architecture"),
        *("load average at the start", "versions", "server's versions", "test images", "target"),
        *("server's machine", "GPU"),
    }
)


class Number(Struct, frozen=True, kw_only=True):
    """A figure over repeats of one configuration."""

    median: float
    low: float
    high: float
    repeats: int


class QuotedLoad(Struct, frozen=True, kw_only=True):
    """The figures of a model under one load; null where a figure was not measured."""

    load: Annotated[str, means("The load in words.")]
    runs: Annotated[int, means("Repeats.")]
    valid_runs: Annotated[
        int,
        means(
            "Repeats that are VALID and, for find-capacity, confirmed. All other figures are of "
            "these repeats."
        ),
    ]
    requests: Annotated[int, means("Answered requests.")]
    images: Annotated[int, means("Answered images.")]
    p50_ms: Number | None
    p99_ms: Number | None
    images_per_second: Number | None
    capacity_per_second: Annotated[
        Number | None, means("Highest rate within the bound that `load` names.")
    ]
    duration: Annotated[
        DurationClass | None,
        means("See Slo.duration: that of the shortest confirmation of the highest rate."),
    ] = None
    left_out: Annotated[
        dict[str, int],
        means(
            'Why repeats do not count ("INVALID: client-lag", "not confirmed"), with their number. '
            "Empty in digests of older versions."
        ),
    ] = {}
    missing: Annotated[
        dict[str, str],
        means(
            "Why valid repeats lack figures, by the figure's name. Empty in digests of older "
            "versions."
        ),
    ] = {}


class Top1(Struct, frozen=True, kw_only=True):
    """Accuracy of the timed answers, with a 95 % interval for the distinct images."""

    top1: float
    low: float
    high: float
    distinct_images: int
    differing_answers: int | None
    compared_answers: int


class QuotedRow(Struct, frozen=True, kw_only=True):
    """One model in one precision."""

    model: str
    version: str
    precision: str
    provider: str
    top1: Top1 | None
    memory_mib: Number | None
    loads: Annotated[
        dict[str, QuotedLoad], means("By kind of load; of each kind the one with most images/s.")
    ]


class QuotedServer(Struct, frozen=True, kw_only=True):
    """A server that was measured."""

    name: Annotated[str, means("Its name in the matrix file; without one, its address.")]
    place: Annotated[
        Place,
        means(
            '"started": by the load test on its own machine; "loopback": running before, behind a '
            'loopback address; "network": behind another address.'
        ),
    ]
    tls: Annotated[bool, means("Whether the connections used TLS.")] = False


class Digest(Struct, frozen=True, kw_only=True):
    """The figures that a README quotes, and the conditions of their measurement."""

    schema_version: int = 1
    name: str
    rows: list[QuotedRow]
    facts: dict[str, str]
    servers: Annotated[
        list[QuotedServer], means("The servers; empty in digests of older versions.")
    ] = []
    in_turns: Annotated[
        bool,
        means(
            "Whether the repeats of all loads took turns; true in digests of older versions, which "
            "`make loadtest` measured so."
        ),
    ] = True


def digest(collection: Collection) -> Digest:
    """Return the digest of a collection."""
    measured = configurations(collection.results)
    subjects = dict.fromkeys(configuration.subject for configuration in measured)
    images = dict.fromkeys(result.report.manifest.data.sha256 for result in collection.results)
    return Digest(
        schema_version=schemas.DIGEST.newest,
        name=collection.name,
        rows=[
            _row(subject, [one for one in measured if one.subject == subject])
            for subject in subjects
        ],
        facts={
            **{name: text for name, text in facts.lines(collection) if name in _FACTS},
            "SHA-256 of the test images": "; ".join(images),
        },
        servers=_servers(collection.results),
        in_turns=all(
            in_turns(one.results, other.results) for one, other in combinations(measured, 2)
        ),
    )


def _servers(results: Sequence[Result]) -> list[QuotedServer]:
    return list(
        dict.fromkeys(
            QuotedServer(name=result.target, place=facts.place(result), tls=result.report.tls)
            for result in results
        )
    )


def _row(subject: Subject, own: Sequence[Configuration]) -> QuotedRow:
    loads: dict[str, QuotedLoad] = {}
    for kind in ("single-stream", "multi-stream", "users", "offline", CAPACITY):
        able = [one for one in own if one.load.kind == kind]
        if able:
            loads[kind] = _load(max(able, key=_speed))
    memory = (one.spread("server_memory_mib") for one in own)
    return QuotedRow(
        model=subject.model,
        version=subject.version,
        precision=subject.precision,
        provider=subject.provider,
        top1=_top1(own),
        memory_mib=_number(_highest(memory)),
        loads=loads,
    )


def _load(configuration: Configuration) -> QuotedLoad:
    runs = len(configuration.results)
    valid = [result for result in configuration.results if _quotable(result.report)]
    quoted = replace(configuration, results=valid)
    return QuotedLoad(
        load=str(configuration.load),
        runs=runs,
        valid_runs=len(valid),
        requests=quoted.requests,
        images=sum(report.accuracy.n for report in quoted.reports),
        p50_ms=_number(quoted.spread("p50_ms")),
        p99_ms=_number(quoted.spread("p99_ms")),
        images_per_second=_number(quoted.spread("images_per_second")),
        capacity_per_second=_number(quoted.spread("capacity_per_second")),
        duration=_duration(quoted.reports) if configuration.load.kind == CAPACITY else None,
        left_out=_left_out(configuration.reports),
        missing=_missing(quoted),
    )


def _left_out(reports: Sequence[Report]) -> dict[str, int]:
    """Return why runs are not quoted, with the number of runs for each reason."""
    counts: dict[str, int] = {}
    for report in reports:
        if _quotable(report):
            continue
        why = "not confirmed"
        if not report.validity.valid:
            why = ": ".join(filter(None, ["INVALID", " and ".join(failed_checks([report]))]))
        counts[why] = counts.get(why, 0) + 1
    return counts


def _missing(quoted: Configuration) -> dict[str, str]:
    """Return why the quoted runs lack figures of QuotedLoad."""
    reasons = {}
    for name in ("p50_ms", "p99_ms", "images_per_second"):
        if quoted.results and quoted.spread(name) is None:
            path = MEASURES[name].path
            each = (why_missing(result, path) for result in quoted.results)
            reasons[name] = "; ".join(dict.fromkeys(each))
    return reasons


def _duration(reports: Sequence[Report]) -> DurationClass | None:
    labels = {slo.duration for report in reports if (slo := report.slo) is not None}
    return next((each for each in get_args(DurationClass) if each in labels), None)


def _quotable(report: Report) -> bool:
    capacity = report.capacity
    return report.validity.valid and (capacity is None or capacity.confirmed)


def _top1(own: Sequence[Configuration]) -> Top1 | None:
    reports = [report for one in own for report in one.reports]
    total = accuracy(reports)
    if total is None:
        return None
    compared = [found for report in reports if (found := report.mismatches) is not None]
    return Top1(
        top1=total.top1,
        low=total.low,
        high=total.high,
        distinct_images=total.distinct_images,
        differing_answers=sum(one.differing for one in compared) if compared else None,
        compared_answers=sum(one.compared for one in compared),
    )


def _speed(configuration: Configuration) -> tuple[bool, float]:
    spread = configuration.spread("images_per_second")
    return configuration.valid, spread.median if spread else 0.0


def _highest(spreads: Iterable[Spread | None]) -> Spread | None:
    known = [spread for spread in spreads if spread is not None]
    return max(known, key=lambda spread: spread.median, default=None)


def _number(spread: Spread | None) -> Number | None:
    if spread is None:
        return None
    return Number(
        median=_digits(spread.median),
        low=_digits(spread.low),
        high=_digits(spread.high),
        repeats=spread.n,
    )


def _digits(value: float) -> float:
    """Round to four significant digits: measurements have no more, and the file is readable."""
    return float(f"{value:.4g}")
