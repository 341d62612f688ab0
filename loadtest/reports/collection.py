"""Collections of runs: made of one run, merged from several, read from files and folders."""

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from loadtest import report_file
from loadtest.report_file import ReportError
from loadtest.report_schema import REPORT_FILE, SCHEMA_VERSION, Collection, Report, Result


def single(report: Report, folder: Path | None = None) -> Collection:
    """Return a collection of one run, whose files are in `folder`."""
    result = Result(
        target=report.target,
        folder=None if folder is None else str(folder),
        report=report,
        server_versions={},
        server_process=None,
    )
    return Collection(
        schema_version=SCHEMA_VERSION,
        name=report.name,
        stop_reason=report.stop_reason,
        results=[result],
        not_measured=[],
    )


def merge(collections: Sequence[Collection]) -> Collection:
    """Return one collection of all results, in their order."""
    if len(collections) == 1:
        return collections[0]
    return Collection(
        schema_version=SCHEMA_VERSION,
        name=", ".join(dict.fromkeys(collection.name for collection in collections)),
        stop_reason=None,
        results=[result for collection in collections for result in collection.results],
        not_measured=[text for collection in collections for text in collection.not_measured],
        mixes=[totals for collection in collections for totals in collection.mixes],
    )


def read(path: Path) -> Collection:
    """Read a report.json of one run or of several.

    Args:
        path: The file, the folder that holds it, or a folder of such folders. The last gives one
            collection of all reports, in the order of the folders' names.

    Raises:
        ReportError: The path has no report, or a report cannot be read or holds no results.
    """
    if path.is_dir() and not (path / REPORT_FILE).is_file():
        files = sorted(path.glob(f"*/{REPORT_FILE}"))
        if not files:
            msg = f"{path} holds no {REPORT_FILE}, expected one in it or in its folders"
            raise ReportError(msg)
        return merge([read(file) for file in files])
    file = path / REPORT_FILE if path.is_dir() else path
    document = report_file.read(file)
    if isinstance(document, Report):
        return single(document, file.parent)
    if not document.results:
        reason = document.stop_reason or "nothing was measured"
        msg = f"{file} holds no results ({reason}), expected at least one; measure again"
        raise ReportError(msg)
    results = [
        replace(result, folder=str(file.parent / (result.folder or ".")))
        for result in document.results
    ]
    return replace(document, results=results)
