"""Writing a report: report.json, .csv, .md and .html in one folder."""

from pathlib import Path

import msgspec

from loadtest.report_schema import REPORT_FILE, Collection, Report
from loadtest.reports.collection import single
from loadtest.reports.pages import csv_table, html_page, markdown_page

NAMES = (REPORT_FILE, "report.csv", "report.md", "report.html")


def write_run(report: Report, folder: Path) -> None:
    """Write all four files of one run; report.json is the report itself.

    Args:
        report: The run.
        folder: The folder; it is created if it is missing.

    Raises:
        OSError: A file cannot be written.
    """
    _write(report, single(report), folder)


def write(collection: Collection, folder: Path) -> None:
    """Write all four files of several runs; report.json is the collection.

    Raises:
        OSError: A file cannot be written.
    """
    _write(collection, collection, folder)


def _write(document: Report | Collection, collection: Collection, folder: Path) -> None:
    texts = (
        msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n",
        csv_table.render(collection),
        markdown_page.render(collection),
        html_page.render(collection),
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(NAMES, texts, strict=True):
        (folder / name).write_text(text, encoding="utf-8")
