"""Reads report.json. Every problem of a file raises a ReportError that names the file."""

from pathlib import Path
from typing import Any

import msgspec

from loadtest.report_schema import REPORT_FILE, Collection, Report
from training import schemas

# msgspec raises the last two for text that is not UTF-8 and for thousands of nested brackets.
_BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class ReportError(ValueError):
    """The file is no report that this version can read. The message is one line."""


class _Head(msgspec.Struct):
    """The two fields that decide how the rest of a file is read."""

    schema_version: Any = 1
    results: msgspec.Raw = msgspec.Raw()


def read_run(path: Path) -> Report:
    """Read the report of one run.

    Args:
        path: The file, or the folder that holds it.

    Raises:
        ReportError: As `read`, or the file is the report of several runs.
    """
    file = path / REPORT_FILE if path.is_dir() else path
    document = read(file)
    if isinstance(document, Collection):
        msg = (
            f"{file} holds a collection of {len(document.results)} runs, expected a single run; "
            f"name the {REPORT_FILE} of one of them"
        )
        raise ReportError(msg)
    return document


def read(file: Path) -> Report | Collection:
    """Read a report.json of one run or of several, and check version and types of its fields.

    Raises:
        ReportError: The file is missing, unreadable, truncated or not JSON, has another schema
            version, or lacks a field or has one of a wrong type.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        msg = (
            f"cannot read a report from {file}: {error.strerror}; "
            f"name a {REPORT_FILE} or the folder that holds it"
        )
        raise ReportError(msg) from error
    try:
        head = msgspec.json.decode(content, type=_Head)
        schemas.REPORT.check(head.schema_version, file)
        if head.results:
            return msgspec.json.decode(content, type=Collection)
        return msgspec.json.decode(content, type=Report)
    except schemas.SchemaError as error:
        raise ReportError(str(error)) from error
    except msgspec.ValidationError as error:
        msg = (
            f"{file} is no valid report: {_plain(error)}; "
            "see report.schema.json for the fields, or measure again"
        )
        raise ReportError(msg) from error
    except _BAD_JSON as error:
        msg = (
            f"{file} is not complete JSON ({_plain(error)}), expected a report; "
            "copy the file again, or measure again"
        )
        raise ReportError(msg) from error


def _plain(error: BaseException) -> str:
    """Return the text of msgspec's error on one line, without its Markdown quotes."""
    return " ".join(str(error).replace("`", "").split())
