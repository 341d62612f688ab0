"""Several results in one report.json, and reading either kind back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict, cast

from loadtest.report_schema import REPORT_FILE, Report, ReportError, ServerProcess, read_document


class Result(TypedDict):
    """One run and where it was sent.

    Attributes:
        target: Name of the server: its address if nobody gave it another one.
        folder: Of the run's own files, in a file relative to it, else absolute; None: unknown.
        report: As the run wrote it.
        server_versions: Of the server and its libraries by name, as far as it says.
        server_process: None for a server that somebody else started.
    """

    target: str
    folder: str | None
    report: Report
    server_versions: dict[str, str]
    server_process: ServerProcess | None


class Collection(TypedDict):
    """Several results.

    Attributes:
        schema_version: 2, as of a single report.
        name: Label of the whole.
        stop_reason: Why it ended before its time; None if it did not.
        results: In the order in which they were measured.
        not_measured: What is missing and why, in words.
    """

    schema_version: Literal[2]
    name: str
    stop_reason: str | None
    results: list[Result]
    not_measured: list[str]


def single(report: Report, folder: Path | None = None) -> Collection:
    """A collection of one, whose files are in a folder."""
    return {
        "schema_version": 2,
        "name": report["name"],
        "stop_reason": report["stop_reason"],
        "results": [
            {
                "target": report["target"],
                "folder": None if folder is None else str(folder),
                "report": report,
                "server_versions": {},
                "server_process": None,
            }
        ],
        "not_measured": [],
    }


def merge(collections: Sequence[Collection]) -> Collection:
    """One collection of all results, in their order."""
    if len(collections) == 1:
        return collections[0]
    return {
        "schema_version": 2,
        "name": ", ".join(dict.fromkeys(collection["name"] for collection in collections)),
        "stop_reason": None,
        "results": [result for collection in collections for result in collection["results"]],
        "not_measured": [text for collection in collections for text in collection["not_measured"]],
    }


def read(path: Path) -> Collection:
    """Read report.json, be it of one run or of several.

    Args:
        path: The file, the folder that holds it, or a folder of such folders: all of them together
            then, in the order of their names.

    Raises:
        ReportError: There is none, or it cannot be read.
    """
    if path.is_dir() and not (path / REPORT_FILE).is_file():
        files = sorted(path.glob(f"*/{REPORT_FILE}"))
        if not files:
            msg = f"{path} holds no {REPORT_FILE}, expected one in it or in its folders"
            raise ReportError(msg)
        return merge([read(file) for file in files])
    file = path / REPORT_FILE if path.is_dir() else path
    document = read_document(file)
    collection = cast("Collection", document) if "results" in document else None
    if collection is None:
        return single(cast("Report", document), file.parent)
    if not collection["results"]:
        msg = f"{file} holds no results: {collection['stop_reason'] or 'nothing was measured'}"
        raise ReportError(msg)
    for result in collection["results"]:
        result["folder"] = str(file.parent / (result["folder"] or "."))
    return collection
