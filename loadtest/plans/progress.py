"""The lines on the terminal while a plan is carried out."""

import sys

from loadtest.report_schema import Result
from loadtest.reports.configurations import load_of
from loadtest.reports.measures import MEASURES
from loadtest.reports.unknown import with_reason

_SHOWN = ("p50_ms", "p99_ms", "images_per_second", "top1_percent")


def say(text: str) -> None:
    """Print a line of progress to standard error; standard output is for the report."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def result_line(result: Result) -> str:
    """Return a result in one line."""
    report = result.report
    texts = ["VALID" if report.validity.valid else "INVALID", str(load_of(report))]
    names = ("capacity_per_second", *_SHOWN) if report.capacity else _SHOWN
    texts += [
        f"{MEASURES[name].title} {with_reason(MEASURES[name].cell(result))}" for name in names
    ]
    return ", ".join(texts + report.validity.reasons)
