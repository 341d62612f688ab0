import json
import re
import subprocess
import sys

import msgspec
import pytest
from sample_results import load_reports, matrix_reports

from loadtest import report_file
from loadtest.report_file import ReportError
from loadtest.reports.pages import files

RUN = msgspec.json.encode(load_reports.report()).decode()
SEVERAL = msgspec.json.encode(load_reports.collection([load_reports.report()])).decode()


def edited(text: str, path: str, value: object) -> str:
    """Return the JSON text with another value at a dotted path."""
    document = json.loads(text)
    inner = document
    *parents, last = path.split(".")
    for name in parents:
        inner = inner[int(name) if name.isdecimal() else name]
    inner[last] = value
    return json.dumps(document)


BROKEN = [
    pytest.param(None, "No such file or directory; name a report.json", id="missing"),
    pytest.param("", "not complete JSON (Input data was truncated)", id="empty"),
    pytest.param(RUN[: len(RUN) // 2], "not complete JSON (Input data was", id="truncated"),
    pytest.param(SEVERAL[:-9], "not complete JSON (Input data was", id="truncated-collection"),
    pytest.param("<html>", "not complete JSON (JSON is malformed", id="not-json"),
    pytest.param(RUN.replace("simcnn", "sim\udcffcnn"), "not complete JSON", id="not-utf-8"),
    pytest.param("[" * 100_000, "Expected object, got array", id="deeply-nested"),
    pytest.param("[]", "Expected object, got array", id="array"),
    pytest.param(
        "{}",
        "too old for this program: schema_version 1, this program reads from 2 on",
        id="no-version",
    ),
    pytest.param('{"schema_version": 2}', "Object missing required field name", id="no-fields"),
    pytest.param(
        edited(RUN, "schema_version", 3),
        "newer than this program: schema_version 3, this program reads up to 2",
        id="newer",
    ),
    pytest.param(
        edited(SEVERAL, "schema_version", 12),
        "newer than this program: schema_version 12",
        id="newer-collection",
    ),
    pytest.param(
        edited(RUN, "schema_version", 1),
        "schema_version 1, this program reads from 2 on; make the file again",
        id="older",
    ),
    pytest.param(
        edited(RUN, "schema_version", "2"), "schema_version '2', expected a whole number", id="text"
    ),
    pytest.param(edited(RUN, "schema_version", True), "schema_version True", id="bool"),
    pytest.param(
        edited(RUN, "schema_version", [1] * 99), "schema_version [1, 1, 1, 1, 1", id="long-version"
    ),
    pytest.param(
        edited(RUN, "requests.answered", "many"),
        "Expected int, got str - at $.requests.answered",
        id="wrong-type",
    ),
    pytest.param(
        edited(SEVERAL, "results.0.report.latency_ms.p50", [1]),
        "Expected float | null, got array - at $.results[0].report.latency_ms.p50",
        id="wrong-type-in-a-collection",
    ),
    pytest.param(
        edited(RUN, "scenario.loop", "ajar"), "Invalid enum value 'ajar'", id="unknown-word"
    ),
    pytest.param(
        edited(RUN, "client", {"processes": 1}),
        "missing required field lag_ms - at $.client",
        id="missing-field",
    ),
]


@pytest.mark.parametrize(("content", "words"), BROKEN)
def test_a_broken_report_is_refused_in_one_line(tmp_path, content, words):
    """The line names the file, what is wrong with it, and the way out after a semicolon."""
    file = tmp_path / "report.json"
    if content is not None:
        file.write_bytes(content.encode(errors="surrogateescape"))

    with pytest.raises(ReportError, match=re.escape(words)) as refused:
        report_file.read(file)

    message = str(refused.value)
    assert str(file) in message
    assert "\n" not in message
    assert "; " in message


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(load_reports.report(), id="run"),
        pytest.param(load_reports.hostile(), id="hostile"),
        pytest.param(load_reports.empty(), id="empty"),
        pytest.param(load_reports.capacity([(1.0, True, 1.0), (2.0, False, 9.0)]), id="capacity"),
        pytest.param(load_reports.collection(matrix_reports.matrix()[:3]), id="collection"),
    ],
)
def test_a_report_is_read_as_it_was_written(tmp_path, document):
    """Reading gives the struct that was written, and its JSON text again when written again."""
    file = tmp_path / "report.json"
    file.write_bytes(msgspec.json.encode(document))

    read = report_file.read(file)

    assert read == document
    assert msgspec.json.encode(read) == file.read_bytes()


def test_fields_that_a_later_version_added_are_ignored(tmp_path):
    """The schema version changes when a field changes its meaning, not when one is added."""
    file = tmp_path / "report.json"
    file.write_text(edited(RUN, "requests.retried", 0))

    assert report_file.read(file) == load_reports.report()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("report", "{}"), id="report"),
        pytest.param(("compare", "{}", "{}"), id="compare"),
        pytest.param(("readme", "--report", "{}"), id="readme"),
        pytest.param(
            (
                *("run", "--target=localhost:1", "--model=simcnn", "--data-dir={data}"),
                *("--baseline", "{}"),
            ),
            id="run-with-a-baseline",
        ),
    ],
)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param('{"schema_version": 2}', "missing required field name", id="no-fields"),
        pytest.param(RUN[:-40], "Input data was truncated", id="truncated"),
        pytest.param(
            edited(RUN, "schema_version", 7),
            "newer than this program: schema_version 7",
            id="newer",
        ),
        pytest.param(edited(RUN, "errors", 7), "got int - at $.errors", id="wrong-type"),
    ],
)
def test_every_command_that_reads_a_report_ends_in_one_line(
    tmp_path, data_dir, command, content, words
):
    """A command that reads a broken report ends with exit code 2, one line and no traceback."""
    file = tmp_path / "report.json"
    file.write_text(content)

    result = subprocess.run(
        [
            *(sys.executable, "-m", "loadtest"),
            *(part.format(file, data=data_dir) for part in command),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert str(file) in result.stderr


def test_a_report_on_disk_is_the_report_that_was_measured(tmp_path):
    """report.json is indented, and reads back to the same struct."""
    files.write_run(load_reports.report(), tmp_path)

    text = (tmp_path / "report.json").read_text()

    assert text.startswith('{\n "schema_version": 2,\n')
    assert report_file.read_run(tmp_path) == load_reports.report()
