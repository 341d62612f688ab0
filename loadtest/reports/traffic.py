"""The parts of a load of changing rate, and the streams of a mix together, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.report_schema import Collection, Report
from loadtest.report_traffic_schema import LoadPhase, MixTotals
from loadtest.reports.configurations import Configuration, subject_labels
from loadtest.reports.findings import Verdict
from loadtest.reports.measures import MEASURES, needs
from loadtest.reports.unknown import NotAvailable, note

PHASE_HEADS = (
    *("phase", "seconds", "planned (requests/s)", "n", "errors", "p50 (ms)", "p90 (ms)"),
    *("p99 (ms)", "max (ms)", "goodput (1/s)", "goodput (%)", "top-1 (%)"),
)
PHASE_KEY = (
    "A request belongs to the phase in which it was due, even if it was answered later. "
    "n: requests due; errors: failed, missed or answered wrongly. Goodput: answers within the "
    "latency bound and not wrong, a second of the phase and of the requests due."
)
MIX_HEADS = (
    *("repeat", "streams", "verdict", "seconds", "scheduled", "answered", "failed", "missed"),
    *("wrong", "requests/s", "images/s", "client CPU (cores)", "server CPU (cores)"),
)
MIX_KEY = (
    "The streams were sent at the same time, from the same start, and share the server: the "
    "latency of each is its latency beside the others. A server's CPU time and memory, here and "
    "below, are those of all streams together."
)
_LATENCY = MEASURES["p50_ms"]
_RATE = MEASURES["goodput_per_second"]


@dataclass(frozen=True)
class PhaseTable:
    """The phases of one run, under PHASE_HEADS."""

    title: str
    rows: list[tuple[str, ...]]

    @property
    def note(self) -> str:
        """Why cells are n/a; empty if none is."""
        return note(self.rows)


def phase_tables(measured: Sequence[Configuration]) -> list[PhaseTable]:
    """Return a table for each run with phases."""
    labels = subject_labels([configuration.subject for configuration in measured])
    found = []
    for one in measured:
        for repeat, report in enumerate(one.reports, 1):
            if report.phases:
                number = f", repeat {repeat}" if len(one.reports) > 1 else ""
                rows = [_phase_row(phase, report) for phase in report.phases]
                found.append(PhaseTable(f"{labels[one.subject]}, {one.load}{number}", rows))
    return found


def phase_lines(report: Report) -> list[str]:
    """Return each phase of a run in one line, for a terminal."""
    lines = []
    for phase in report.phases:
        name, _, planned, n, errors, p50, _, p99, *_ = _phase_row(phase, report)
        line = f"{name}: {n} requests at {planned}/s, p50 {_ms(p50)}, p99 {_ms(p99)}"
        if phase.goodput_share is not None:
            line += f", {100 * phase.goodput_share:.1f} % good"
        lines.append(line if errors == "0" else f"{line}, {errors} errors")
    return lines


def mix_rows(collection: Collection) -> list[tuple[str | Verdict, ...]]:
    """Return a row under MIX_HEADS for each repeat of a mix."""
    return [_mix_row(totals) for totals in collection.mixes]


def mix_line(totals: MixTotals) -> str:
    """Return the totals of a mix in one line, for a terminal."""
    _, streams, verdict, seconds, _, answered, failed, missed, wrong, *rates = _mix_row(totals)
    requests, images, client, _ = rates
    text = verdict.text if isinstance(verdict, Verdict) else verdict
    return (
        f"all {streams} streams: {text}, {answered} answered, {failed} failed, {missed} missed, "
        f"{wrong} wrong in {seconds} s; {requests} requests/s, {images} images/s, "
        f"client {client} cores"
    )


def _ms(cell: str) -> str:
    return cell if isinstance(cell, NotAvailable) else f"{cell} ms"


def _phase_row(phase: LoadPhase, report: Report) -> tuple[str, ...]:
    def latency(value: float | None, name: str) -> str:
        if value is None:
            return NotAvailable(needs(report.latency_ms.requests_needed, name, "a phase"))
        return _LATENCY.text(value)

    unbound = NotAvailable("goodput needs a latency bound (--slo-ms)")
    share = phase.goodput_share
    if share is None and phase.goodput_per_second is not None:
        shown: str = NotAvailable("no request was due in the phase")
    else:
        shown = unbound if share is None else f"{100 * share:.1f}"
    unanswered = NotAvailable("nothing was answered in the phase")
    return (
        phase.name,
        f"{sum(end - start for start, end in phase.spans_seconds):.4g}",
        f"{phase.planned_rate_per_second:,.1f}",
        f"{phase.scheduled:,}",
        f"{phase.scheduled - phase.answered + phase.wrong:,}",
        latency(phase.p50_ms, "p50"),
        latency(phase.p90_ms, "p90"),
        latency(phase.p99_ms, "p99"),
        unanswered if phase.max_ms is None else _LATENCY.text(phase.max_ms),
        unbound if phase.goodput_per_second is None else _RATE.text(phase.goodput_per_second),
        shown,
        unanswered if phase.top1 is None else f"{100 * phase.top1:.2f}",
    )


def _mix_row(totals: MixTotals) -> tuple[str | Verdict, ...]:
    def rate(value: float | None) -> str:
        return NotAvailable("nothing was answered") if value is None else _RATE.text(value)

    text = "VALID" if totals.valid else f"INVALID: {', '.join(totals.invalid_streams)}"
    return (
        f"{totals.repeat}",
        f"{len(totals.streams)}",
        Verdict(text, totals.valid),
        f"{totals.seconds:.1f}",
        f"{totals.scheduled:,}",
        f"{totals.answered:,}",
        f"{totals.failed:,}",
        f"{totals.missed:,}",
        f"{totals.wrong:,}",
        rate(totals.requests_per_second),
        rate(totals.images_per_second),
        f"{totals.client_cores:.2f}",
        NotAvailable("the mix did not start the server and cannot see its CPU time")
        if totals.server_cores is None
        else f"{totals.server_cores:.2f}",
    )
