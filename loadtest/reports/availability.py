"""Availability, outages and time to recover: the text of one run, and the table of all."""

import math
from collections.abc import Sequence

from loadtest.report_sections_schema import Availability, Outage
from loadtest.reports.configurations import Configuration, subject_labels
from loadtest.reports.unknown import NotAvailable, with_reason

HEADS = (
    "model",
    "scenario",
    "availability (%)",
    "good answers",
    "outages",
    "longest outage",
    "time to recover",
)
KEY = (
    "Availability: answers in time and right over all requests, those included that were missed or "
    "that waiting callers did not send. An outage is a time in which requests were due and none "
    "succeeded. Time to recover: from the first failure until no request fails for 1 s."
)


def line(known: Availability) -> str:
    """Return a run's availability in one line."""
    withheld = f", {known.withheld:,} of them not sent by waiting callers" if known.withheld else ""
    share = percent(known.share)
    shown = with_reason(share) if known.share is None else f"{share} %"
    text = f"{shown} ({known.good:,} of {known.requests:,} requests{withheld}), "
    longest = known.longest_outage
    if longest is None:
        return text + f"no outage of {known.outage_threshold_seconds:.2g} s or more"
    count = len(known.outages)
    return (
        f"{text}{count:,} outage{'' if count == 1 else 's'}, the longest {outage_text(longest)}; "
        f"time to recover {_recovery_text([known])}"
    )


def table(measured: Sequence[Configuration]) -> list[tuple[str, ...]]:
    """Return the rows under HEADS: the repeats of a configuration together, worst times."""
    labels = subject_labels([configuration.subject for configuration in measured])
    rows: list[tuple[str, ...]] = []
    for one in measured:
        known = [report.availability for report in one.reports if report.availability is not None]
        if not known:  # reports of an older version
            continue
        good, requests = sum(run.good for run in known), sum(run.requests for run in known)
        outages = [outage for run in known for outage in run.outages]
        longest = max(outages, key=lambda outage: outage.seconds, default=None)
        rows.append(
            (
                labels[one.subject],
                str(one.load),
                percent(good / requests if requests else None),
                f"{good:,} of {requests:,}",
                f"{len(outages):,}",
                "none" if longest is None else outage_text(longest),
                _recovery_text(known),
            )
        )
    return rows


def percent(share: float | None) -> str:
    """Return a share in percent with three digits, rounded down: 100.000 only if nothing failed."""
    if share is None:
        return NotAvailable("no request was due")
    return f"{math.floor(100_000 * share) / 1000:.3f}"


def outage_text(outage: Outage) -> str:
    """Return the length of an outage with its start and end."""
    end = "the end" if outage.end_seconds is None else f"{outage.end_seconds:.2f} s"
    return f"{outage.seconds:.2f} s ({outage.start_seconds:.2f} s to {end})"


def _recovery_text(known: Sequence[Availability]) -> str:
    if not all(run.recovered for run in known):
        return "not recovered"
    seconds = [
        run.time_to_recover_seconds for run in known if run.time_to_recover_seconds is not None
    ]
    return f"{max(seconds):.2f} s" if seconds else "nothing failed"
