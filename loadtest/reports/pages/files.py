"""Writing a report: report.json, .csv, .md and .html in one folder."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from loadtest.report_schema import REPORT_FILE, Collection, Report
from loadtest.reports.collection import single
from loadtest.reports.pages import csv_table, html_page, markdown_page
from training import storage

NAMES = (REPORT_FILE, "report.csv", "report.md", "report.html")


def write_run(
    report: Report, folder: Path, others: Mapping[str, bytes | memoryview] | None = None
) -> None:
    """Write all four files of one run; report.json is the report itself.

    Args:
        report: The run.
        folder: The folder; it is created if it is missing.
        others: Contents of further files of the folder, by name.

    Raises:
        StorageError: A file cannot be written. An older report in the folder is not changed.
    """
    _write(report, single(report), folder, others or {})


def write(collection: Collection, folder: Path) -> None:
    """Write all four files of several runs; report.json is the collection.

    Raises:
        StorageError: A file cannot be written. An older report in the folder is not changed.
    """
    _write(collection, collection, folder, {})


def _write(
    document: Report | Collection,
    collection: Collection,
    folder: Path,
    others: Mapping[str, bytes | memoryview],
) -> None:
    report = msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
    sha256 = hashlib.sha256(report).hexdigest()
    texts = (
        report.decode(),
        csv_table.render(collection),
        markdown_page.render(collection, sha256),
        html_page.render(collection, sha256),
    )
    contents: dict[str, bytes | memoryview] = {
        name: text.encode() for name, text in zip(NAMES, texts, strict=True)
    }
    contents.update(others)
    with storage.folder(folder):
        storage.write_all({folder / name: content for name, content in contents.items()})
