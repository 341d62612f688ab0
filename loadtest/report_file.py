"""Reads report.json. Every problem of a file raises a ReportError that names the file."""

from pathlib import Path
from typing import Any

import msgspec

from loadtest.report_schema import REPORT_FILE, SCHEMA_VERSION, Collection, Report

# msgspec raises the last two for text that is not UTF-8 and for thousands of nested brackets.
_BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class ReportError(ValueError):
    """The file is no report that this version can read. The message is one line."""


class _Head(msgspec.Struct):
    """The two fields that decide how the rest of a file is read."""

    schema_version: Any = None
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
        _check_version(file, head.schema_version)
        if head.results:
            return msgspec.json.decode(content, type=Collection)
        return msgspec.json.decode(content, type=Report)
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


def _check_version(file: Path, version: Any) -> None:  # noqa: ANN401 - whatever the file holds
    if type(version) is int and version == SCHEMA_VERSION:
        return
    if version is None:
        problem = "has no schema_version"
        way_out = f"name a {REPORT_FILE} that loadtest wrote"
    elif type(version) is int and version > SCHEMA_VERSION:
        problem = f"has the newer schema_version {version}"
        way_out = "read it with the version of loadtest that wrote it, or a later one"
    else:
        problem = f"has schema_version {_shown(version)}"
        way_out = "measure again with this version"
    msg = f"{file} {problem}, expected {SCHEMA_VERSION}; {way_out}"
    raise ReportError(msg)


def _shown(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 40 else f"{text[:40]}…"


def _plain(error: BaseException) -> str:
    """Return the text of msgspec's error on one line, without its Markdown quotes."""
    return " ".join(str(error).replace("`", "").split())
