"""Headlines and tables of a collection, for both its Markdown and its HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.report_schema import Collection, Report
from loadtest.reports import unknown
from loadtest.reports.configurations import (
    Configuration,
    Subject,
    accuracy,
    bound_text,
    class_names,
    configurations,
    confusion,
    subject_labels,
    unit,
)
from loadtest.reports.findings import Verdict
from loadtest.reports.measures import COSTS, MEASURES, why_missing, why_no_top1
from loadtest.reports.unknown import NotAvailable

HEADS = (
    "model",
    "scenario",
    "verdict",
    "n",
    "p50 (ms)",
    "p99 (ms)",
    "images/s",
    "goodput (1/s)",
    "top-1 (%)",
    "errors",
    "p90 (ms)",
    "p99.9 (ms)",
)

KEY = (
    "Medians over the repeats, lowest to highest in brackets. Top-1 with its 95 % Wilson interval."
)


@dataclass(frozen=True)
class TableRow:
    """The row of a configuration in the table under HEADS; the verdict is the third column."""

    name: tuple[str, str]
    verdict: Verdict
    figures: tuple[str, ...]


@dataclass(frozen=True)
class Headline:
    """The most important figures of a subject, each with an explanation."""

    subject: Subject
    label: str
    figures: tuple[tuple[str, str], ...]


def heads(measured: Sequence[Configuration]) -> tuple[str, ...]:
    """Return HEADS, with what the runs count in a second."""
    counted = unit(report for one in measured for report in one.reports)
    return tuple(head.replace("images", counted) for head in HEADS)


def rows(measured: Sequence[Configuration]) -> list[TableRow]:
    """Return a row for each configuration: medians over its repeats, with lowest and highest."""
    labels = subject_labels([configuration.subject for configuration in measured])
    return [_row(configuration, labels[configuration.subject]) for configuration in measured]


def costs(measured: Sequence[Configuration]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return heads and rows of the table of client and server costs, without empty columns."""
    labels = subject_labels([configuration.subject for configuration in measured])
    known = [name for name in COSTS if any(one.spread(name) is not None for one in measured)]
    heads = ("model", "scenario", *(MEASURES[name].title for name in known))
    lines = [
        (
            labels[one.subject],
            str(one.load),
            *(spread_cell(one, name) for name in known),
        )
        for one in measured
    ]
    return heads, lines


def headlines(measured: Sequence[Configuration]) -> list[Headline]:
    """Return a headline for each subject."""
    labels = subject_labels([configuration.subject for configuration in measured])
    lines = []
    for subject, label in labels.items():
        own = [one for one in measured if one.subject == subject]
        figures = [
            _top1_figure(own),
            _latency_figure(own),
            _throughput_figure(own),
            _capacity_figure(own),
        ]
        known = tuple(figure for figure in figures if figure is not None)
        lines.append(Headline(subject, label, known))
    return lines


def describe(collection: Collection) -> str:
    """Return the number of runs, configurations and VALID runs in one line."""
    measured = configurations(collection.results)
    runs = len(collection.results)
    valid = sum(one.report.validity.valid for one in collection.results)
    text = f"{runs:,} run{_s(runs)} of {len(measured):,} configuration{_s(len(measured))}"
    return f"{text}, {valid:,} of {runs:,} VALID"


def top1_text(reports: Sequence[Report]) -> str:
    """Return top-1 of the fullest reports in percent with its interval, or why there is none."""
    total = accuracy(reports)
    if total is None:
        reasons = dict.fromkeys(why_no_top1(report) for report in reports)
        return NotAvailable("; ".join(reasons))
    return f"{100 * total.top1:.2f} ({100 * total.low:.2f} to {100 * total.high:.2f})"


def class_shares(reports: Sequence[Report]) -> dict[str, float | None]:
    """Return the share of right answers for each class, by its name."""
    shares = [
        row[label] / total if (total := sum(row)) else None
        for label, row in enumerate(confusion(reports))
    ]
    return dict(zip(class_names(reports), shares, strict=False))


def percent(share: float | None) -> str:
    """Return a share in percent, without the sign."""
    if share is None:
        return NotAvailable("no image of this class was answered")
    return f"{100 * share:.1f}"


def median_cell(configuration: Configuration, name: str) -> str:
    """Return the median of one of MEASURES over the repeats, or why no repeat has it."""
    measure, spread = MEASURES[name], configuration.spread(name)
    if spread is None:
        reasons = (why_missing(result, measure.path) for result in configuration.results)
        return NotAvailable("; ".join(dict.fromkeys(reasons)))
    return measure.text(spread.median)


def spread_cell(configuration: Configuration, name: str) -> str:
    """Return the median, with lowest and highest if there are several repeats.

    If some repeats lack the figure, the text says how many have it.
    """
    text = median_cell(configuration, name)
    measure, spread = MEASURES[name], configuration.spread(name)
    if spread is None:
        return text
    low, high = measure.text(spread.low), measure.text(spread.high)
    if low != high:
        text = f"{text} ({low} to {high})"
    repeats = len(configuration.results)
    return text if spread.n == repeats else f"{text}, {spread.n} of {repeats} repeats"


def verdict(configuration: Configuration) -> Verdict:
    """Return how many repeats of a configuration are VALID, and the rules that the others broke.

    For example "VALID", "INVALID: client-lag", "2 of 3 VALID: requests".
    """
    valid = sum(report.validity.valid for report in configuration.reports)
    repeats = len(configuration.results)
    if valid == repeats:
        return Verdict("VALID", valid=True)
    head = f"{valid} of {repeats} VALID" if valid else "INVALID"
    broken = ", ".join(configuration.failed_checks)
    return Verdict(f"{head}: {broken}" if broken else head, valid=False)


def _row(configuration: Configuration, label: str) -> TableRow:
    errors: dict[str, int] = {}
    for report in configuration.reports:
        for kind, error in report.errors.items():
            errors[kind] = errors.get(kind, 0) + error.count
        if missed := report.requests.missed:
            errors["missed"] = errors.get("missed", 0) + missed
    repeats = len(configuration.results)
    n = f"{configuration.requests:,}"
    return TableRow(
        name=(label, str(configuration.load)),
        verdict=verdict(configuration),
        figures=(
            n if repeats == 1 else f"{n} in {repeats}",
            *(
                spread_cell(configuration, name)
                for name in ("p50_ms", "p99_ms", "images_per_second", "goodput_per_second")
            ),
            top1_text(configuration.reports),
            ", ".join(f"{kind} {count:,}" for kind, count in errors.items()) or "none",
            *(spread_cell(configuration, name) for name in ("p90_ms", "p99_9_ms")),
        ),
    )


def _top1_figure(own: Sequence[Configuration]) -> tuple[str, str] | None:
    total = accuracy([report for one in own for report in one.reports])
    if total is None:
        return None
    return (
        f"{100 * total.top1:.2f} %",
        f"top-1 ({100 * total.low:.2f} to {100 * total.high:.2f})",
    )


def _latency_figure(own: Sequence[Configuration]) -> tuple[str, str] | None:
    able = [one for one in own if one.load.kind != "offline" and one.spread("p50_ms")]
    if not able:
        return None
    order = ("single-stream", "users", "server", "capacity", "multi-stream")
    # A scenario that is not in the list comes last.
    rank = {kind: position for position, kind in enumerate(order)}
    best = min(able, key=lambda one: (rank.get(one.load.kind, len(order)), one.load.users or 0))
    values = [median_cell(best, name) for name in ("p50_ms", "p99_ms")]
    words = f"p50 / p99, {best.load}{_doubt(best)}"
    missing = unknown.note([values]).removesuffix(".")
    return f"{' / '.join(values)} ms", f"{words}; {missing}" if missing else words


def _throughput_figure(own: Sequence[Configuration]) -> tuple[str, str] | None:
    able = [(spread, one) for one in own if (spread := one.spread("images_per_second"))]
    if not able:
        return None
    spread, best = max(able, key=lambda pair: (pair[1].valid, pair[0].median))
    return f"{spread.median:,.0f} {unit(best.reports)}/s", f"at most, {best.load}{_doubt(best)}"


def _capacity_figure(own: Sequence[Configuration]) -> tuple[str, str] | None:
    """Return the rate of find-capacity, else the highest rate that met the bound every time."""
    for one in own:
        if (found := one.spread("capacity_per_second")) is not None:
            searches = [capacity for report in one.reports if (capacity := report.capacity)]
            doubt = "" if all(search.confirmed for search in searches) else ", not confirmed"
            if any(search.limited_by == "client" for search in searches):
                doubt += ", limited by the client"
            words = f"most with {one.load.bound}{doubt}{_doubt(one)}"
            return f"{found.median:,.0f} requests/s", words
    able = [
        one
        for one in own
        if one.load.rate is not None
        and one.valid
        and all((slo := report.slo) and slo.met for report in one.reports)
    ]
    if not able:
        return None
    best = max(able, key=lambda one: one.load.rate or 0)
    bounds = {
        bound_text(slo.percentile, slo.limit_ms) for report in best.reports if (slo := report.slo)
    }
    return f"{best.load.rate:,.0f} requests/s", f"highest tried with {', '.join(bounds)}"


def _doubt(configuration: Configuration) -> str:
    return "" if configuration.valid else f", {verdict(configuration).text}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
