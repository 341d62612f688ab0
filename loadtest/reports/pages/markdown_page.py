"""report.md: the tables of report.html for terminals, diffs and pull requests."""

import html
from collections.abc import Iterable, Sequence

from loadtest.report_schema import Collection
from loadtest.reports import facts, summary
from loadtest.reports.configurations import Configuration, accuracy, configurations, subject_labels
from training.data.cifar10 import CLASS_NAMES


def render(collection: Collection) -> str:
    """Return the page."""
    measured = configurations(collection.results)
    sections = [
        f"# Load test {cell(collection.name)}",
        f"{summary.describe(collection)}.",
        *(f"Ended early: {cell(reason)}." for reason in [collection.stop_reason] if reason),
        *_list(collection.not_measured),
        table(
            summary.HEADS,
            [(*row.name, row.verdict.text, *row.figures) for row in summary.rows(measured)],
        ),
        summary.KEY,
        *_list(f"{cell(note.text)}: {cell(note.where)}" for note in summary.complaints(measured)),
        "## Client and server",
        table(*summary.costs(measured)),
        "## Accuracy by class",
        _classes(measured),
        "## How it was measured",
        table(("", ""), facts.lines(collection)),
    ]
    return "\n\n".join(sections) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def cell(value: str) -> str:
    """Return a text that neither breaks a table nor is markup: it may be a server's message."""
    return html.escape(" ".join(value.split()), quote=False).replace("|", "\\|")


def _list(items: Iterable[str]) -> list[str]:
    lines = [f"- {item}" for item in items]
    return ["\n".join(lines)] if lines else []


def _classes(measured: Sequence[Configuration]) -> str:
    labels = subject_labels([configuration.subject for configuration in measured])
    columns = []
    for subject in labels:
        reports = [r for one in measured if one.subject == subject for r in one.reports]
        total = accuracy(reports)
        shares = summary.class_shares(reports)
        columns.append([summary.percent(share) for share in shares] + [summary.top1_text(total)])
    return table(
        ("class", *(f"{label}, top-1 (%)" for label in labels.values())),
        zip([*CLASS_NAMES, "all"], *columns, strict=True),
    )
