import copy
import re

import load_reports
import pytest

from loadtest.report_schema import ReportError
from loadtest.reports.collection import read
from loadtest.reports.configurations import (
    configurations,
)
from loadtest.reports.pages import files


def test_a_collection_is_read_back_from_its_file_and_its_folder(tmp_path, matrix):
    """Both give every result, and the folder in which a run's own files are."""
    document = copy.deepcopy(matrix)
    document["results"][0]["folder"] = "runs/001"
    files.write(document, tmp_path)

    by_file, by_folder = read(tmp_path / "report.json"), read(tmp_path)

    assert by_file == by_folder
    assert [one["report"] for one in by_file["results"]] == [
        one["report"] for one in matrix["results"]
    ]
    assert by_file["results"][0]["folder"] == str(tmp_path / "runs/001")


def test_a_folder_of_runs_is_read_as_one_collection(tmp_path):
    """Repeats measured one by one lie in folders of their own."""
    for number in range(3):
        files.write_run(load_reports.report(seed=number), tmp_path / f"run-{number}")

    document = read(tmp_path)

    assert len(document["results"]) == 3
    assert len(configurations(document["results"])) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "cannot read", id="missing"),
        pytest.param("{", "cannot read", id="no-json"),
        pytest.param("[]", "schema_version None", id="another-document"),
        pytest.param('{"schema_version": 1}', "schema_version 1, expected 2", id="older"),
        pytest.param(
            '{"schema_version": 2, "results": [], "stop_reason": "interrupted"}',
            "no results: interrupted",
            id="empty",
        ),
    ],
)
def test_a_file_that_is_no_report_is_refused_by_name(tmp_path, content, words):
    """The message names the file and what is wrong with it."""
    file = tmp_path / "report.json"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ReportError, match=re.escape(str(file))) as refused:
        read(file)

    assert words in str(refused.value)


def test_a_folder_without_reports_is_refused(tmp_path):
    """Neither it nor its folders hold one."""
    with pytest.raises(ReportError, match=r"holds no report\.json"):
        read(tmp_path)
