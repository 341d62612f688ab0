import subprocess
import sys

from sample_results import load_reports

from loadtest.reports.collection import read
from loadtest.reports.pages import files


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtest", "report", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_results_measured_apart_end_in_one_report(tmp_path):
    """The results of a run and a matrix are merged in the given order under a new name."""
    files.write_run(load_reports.report(), tmp_path / "run")
    files.write(load_reports.collection([load_reports.report(batch=8)] * 2), tmp_path / "matrix")

    result = command(
        *(tmp_path / "run", tmp_path / "matrix" / "report.json"),
        *("--name", "both", "--output-dir", tmp_path / "out"),
    )

    document = read(tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert document.name == "both"
    assert [one.report.scenario.batch for one in document.results] == [1, 8, 8]
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(files.NAMES)


def test_a_report_of_nothing_ends_in_one_line(tmp_path):
    """A path without a result ends with exit code 2 and one line that names the path."""
    result = command(tmp_path / "nothing")

    assert result.returncode == 2
    assert result.stderr.startswith("error: cannot read a report from")
    assert str(tmp_path / "nothing") in result.stderr


def test_a_report_that_cannot_be_written_ends_in_one_line(tmp_path):
    """An unwritable folder ends with exit code 2 and one line with the folder and the way out."""
    files.write_run(load_reports.report(), tmp_path / "run")
    (tmp_path / "file").write_text("")

    result = command(tmp_path / "run", "--output-dir", tmp_path / "file")

    assert result.returncode == 2
    assert "name another --output-dir" in result.stderr
