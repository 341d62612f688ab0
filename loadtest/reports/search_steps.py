"""The steps of find-capacity as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtest.report_schema import CapacityStep
from loadtest.reports.configurations import CAPACITY, Configuration, subject_labels
from loadtest.reports.findings import Verdict
from loadtest.reports.measures import MEASURES, needs
from loadtest.reports.unknown import NotAvailable, note

_LATENCY = MEASURES["p50_ms"]
_RATE = MEASURES["goodput_per_second"]


# An explanation of the tables, for the page.
KEY = (
    "In the order in which they were measured. A step that was cut short failed: it ended as soon "
    "as it could no longer pass, and its figures are of the first seconds of an overload. "
    "(client): the load generator could not keep up."
)


@dataclass(frozen=True)
class StepTable:
    """The steps of one search; the verdict is the third column.

    Attributes:
        title: The configuration, with the number of the repeat.
        heads: Column heads.
        rows: A row for each step, in the order in which they were measured.
    """

    title: str
    heads: tuple[str, ...]
    rows: list[tuple[str | Verdict, ...]]

    @property
    def note(self) -> str:
        """Why cells are n/a; empty if none is."""
        return note(self.rows)


def tables(measured: Sequence[Configuration]) -> list[StepTable]:
    """Return a table for each search."""
    labels = subject_labels([configuration.subject for configuration in measured])
    found = []
    for one in measured:
        if one.load.kind != CAPACITY:
            continue
        repeats = len(one.reports)
        for repeat, report in enumerate(one.reports, 1):
            if (capacity := report.capacity) is None or not capacity.steps:
                continue
            number = f", repeat {repeat}" if repeats > 1 else ""
            found.append(
                StepTable(
                    title=f"{labels[one.subject]}, {one.load}{number}",
                    heads=(
                        *("phase", "requests/s", "verdict", "seconds", "n", "over the bound"),
                        *("p50 (ms)", f"p{capacity.percentile:g} (ms)", _RATE.title, "reason"),
                    ),
                    rows=[
                        _row(step, f"p{capacity.percentile:g}", report.latency_ms.requests_needed)
                        for step in capacity.steps
                    ],
                )
            )
    return found


def verdict(step: CapacityStep) -> Verdict:
    """Return whether a step passed or was cut short, and whether the client was the limit."""
    text = "passed" if step.passed else "cut short" if step.cut_short else "failed"
    return Verdict(f"{text} (client)" if step.client_limited else text, step.passed)


def _row(
    step: CapacityStep, percentile: str, needed: Mapping[str, int]
) -> tuple[str | Verdict, ...]:
    def latency(value: float | None, name: str) -> str:
        if value is None:
            return NotAvailable(needs(needed, name.replace(".", "_"), "a step"))
        return _LATENCY.text(value)

    goodput = step.goodput_per_second
    return (
        step.phase,
        f"{step.offered_rate_per_second:,.1f}",
        verdict(step),
        f"{step.seconds:.1f}",
        f"{step.n:,}",
        f"{step.over:,}",
        latency(step.p50_ms, "p50"),
        latency(step.percentile_ms, percentile),
        NotAvailable("no request of the step was finished")
        if goodput is None
        else _RATE.text(goodput),
        step.reason.removeprefix("cut short: "),
    )
