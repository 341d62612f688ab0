import msgspec
import pytest
from msgspec.structs import replace
from sample_results import load_reports

from loadtest.report_file import ReportError
from loadtest.reports.collection import read
from loadtest.reports.configurations import (
    configurations,
)
from loadtest.reports.pages import files


def test_a_collection_is_read_back_from_its_file_and_its_folder(tmp_path, matrix):
    """Both give every result, and the folder in which a run's own files are."""
    first, *others = matrix.results
    document = replace(matrix, results=[replace(first, folder="runs/001"), *others])
    files.write(document, tmp_path)

    by_file, by_folder = read(tmp_path / "report.json"), read(tmp_path)

    assert by_file == by_folder
    assert [one.report for one in by_file.results] == [one.report for one in matrix.results]
    assert by_file.results[0].folder == str(tmp_path / "runs/001")


def test_a_folder_of_runs_is_read_as_one_collection(tmp_path):
    """Repeats measured one by one lie in folders of their own."""
    for number in range(3):
        files.write_run(load_reports.report(seed=number), tmp_path / f"run-{number}")

    document = read(tmp_path)

    assert len(document.results) == 3
    assert len(configurations(document.results)) == 1


EMPTY = load_reports.changed(load_reports.collection([]), {"stop_reason": "interrupted by SIGINT"})


def test_a_collection_without_results_is_refused(tmp_path):
    """The message names the file and why nothing was measured."""
    file = tmp_path / "report.json"
    file.write_bytes(msgspec.json.encode(EMPTY))

    with pytest.raises(
        ReportError, match=r"report\.json holds no results \(interrupted by SIGINT\)"
    ):
        read(file)


def test_a_folder_without_reports_is_refused(tmp_path):
    """Neither it nor its folders hold one."""
    with pytest.raises(ReportError, match=r"holds no report\.json"):
        read(tmp_path)
