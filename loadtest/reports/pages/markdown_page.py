"""report.md: the tables of report.html for terminals, diffs and pull requests."""

import html
from collections.abc import Iterable, Sequence

from loadtest.report_schema import Collection
from loadtest.reports import availability, facts, findings, search_steps, summary, traffic, unknown
from loadtest.reports.configurations import (
    Configuration,
    class_names,
    configurations,
    subject_labels,
)
from loadtest.reports.findings import Note, Verdict


def render(collection: Collection, report_sha256: str) -> str:
    """Return the page.

    Args:
        collection: The runs.
        report_sha256: Digest of the report.json beside the page.
    """
    measured = configurations(collection.results)
    failed = findings.failed_gates(measured, collection.stop_reason)
    rows = [(*row.name, row.verdict.text, *row.figures) for row in summary.rows(measured)]
    sections = [
        f"# Load test {cell(collection.name)}",
        f"{summary.describe(collection)}.",
        *(f"Ended early: {cell(reason)}." for reason in [collection.stop_reason] if reason),
        *_list(collection.not_measured),
        *_list(_found("Gate failed: ", failed)),
        *_list(_found("Limited by the client: ", findings.client_limits(measured))),
        *_mixes(collection),
        *_explained(summary.heads(measured), rows, summary.KEY),
        *_list(_found("", findings.complaints(measured))),
        *_gates(measured),
        *_searches(measured),
        *_phases(measured),
        *_availability(measured),
        "## Client and server",
        *_explained(*summary.costs(measured)),
        *_classes(measured),
        "## How it was measured",
        table(("", ""), facts.lines(collection)),
        "## Digests (SHA-256)",
        table(("", ""), [("report.json", report_sha256), *facts.digests(collection)]),
    ]
    return "\n\n".join(sections) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def _explained(
    heads: Sequence[str], rows: Sequence[Sequence[str]], key: str | None = None
) -> list[str]:
    """Return a table, and below it what it shows and why cells are n/a."""
    below = " ".join(filter(None, [key, cell(unknown.note(rows))]))
    return [table(heads, rows), *([below] if below else [])]


def cell(value: str) -> str:
    """Return a text that neither breaks a table nor is markup: it may be a server's message."""
    return html.escape(" ".join(value.split()), quote=False).replace("|", "\\|")


def _list(items: Iterable[str]) -> list[str]:
    lines = [f"- {item}" for item in items]
    return ["\n".join(lines)] if lines else []


def _found(head: str, notes: Iterable[Note]) -> Iterable[str]:
    return (f"{head}{cell(note.text)} ({cell(note.where)})" for note in notes)


def _gates(measured: Sequence[Configuration]) -> list[str]:
    rows = [_texts(row.cells) for row in findings.gates(measured)]
    return ["## Gates", table(findings.gate_heads(measured), rows)] if rows else []


def _searches(measured: Sequence[Configuration]) -> list[str]:
    parts = []
    for search in search_steps.tables(measured):
        rows = map(_texts, search.rows)
        parts += [f"## Steps of {cell(search.title)}", table(search.heads, rows)]
        parts += [search.note] if search.note else []
    return [*parts, search_steps.KEY] if parts else []


def _mixes(collection: Collection) -> list[str]:
    rows = [_texts(row) for row in traffic.mix_rows(collection)]
    if not rows:
        return []
    return [
        "## All streams together",
        *_explained(traffic.MIX_HEADS, rows, traffic.MIX_KEY),
        "## All results",
    ]


def _phases(measured: Sequence[Configuration]) -> list[str]:
    parts = []
    for one in traffic.phase_tables(measured):
        parts += [f"## Phases of {cell(one.title)}"]
        parts += _explained(traffic.PHASE_HEADS, one.rows, traffic.PHASE_KEY)
    return parts


def _availability(measured: Sequence[Configuration]) -> list[str]:
    rows = availability.table(measured)
    if not rows:
        return []
    return ["## Availability", *_explained(availability.HEADS, rows, availability.KEY)]


def _texts(row: Iterable[str | Verdict]) -> list[str]:
    return [value if isinstance(value, str) else value.text for value in row]


def _classes(measured: Sequence[Configuration]) -> list[str]:
    """Return the section of single classes; without labels there is none."""
    labels = subject_labels([configuration.subject for configuration in measured])
    names = class_names(report for one in measured for report in one.reports)
    columns = []
    for subject in labels:
        reports = [r for one in measured if one.subject == subject for r in one.reports]
        shares = summary.class_shares(reports)
        cells = [summary.percent(shares.get(name)) for name in names]
        columns.append([*cells, summary.top1_text(reports)])
    if not names:
        return []
    return [
        "## Accuracy by class",
        *_explained(
            ("class", *(f"{label}, top-1 (%)" for label in labels.values())),
            list(zip([*names, "all"], *columns, strict=True)),
        ),
    ]
