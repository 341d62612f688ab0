"""`python -m loadtest report`: writes one report on results that were measured separately."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from loadtest.report_file import ReportError
from loadtest.reports import collection
from loadtest.reports.pages import files
from loadtest.settings.arguments import output_folder
from loadtest.settings.config import UsageError
from loadtest.settings.parser import Parser

_DESCRIPTION = """\
Write report.json, report.csv, report.md and report.html on any number of results. Results of the
same load on the same model, precision, transport and target count as repeats of each other.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Returns:
        Exit code: always 0.

    Raises:
        UsageError: A result cannot be read.
        StorageError: The report cannot be written.
    """
    values = _parser().parse_args(arguments)
    try:
        document = collection.merge([collection.read(path) for path in values.results])
    except ReportError as error:
        raise UsageError(str(error)) from error
    if values.name is not None:
        document = replace(document, name=values.name)
    folder = values.output_dir or output_folder(document.name)
    files.write(document, folder)
    sys.stdout.write(f"{len(document.results)} runs; report: {folder / 'report.html'}\n")
    if values.json:
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m loadtest report", description=_DESCRIPTION, allow_abbrev=False)
    add = parser.add_argument
    add("results", nargs="+", type=Path, metavar="RESULT", help="report.json, or a folder")
    add("--name", help="name of the report")
    add("--output-dir", type=Path, help="folder for the report (default: results/TIME-NAME)")
    add("--json", action="store_true", help="end with the report as one line of JSON")
    return parser
