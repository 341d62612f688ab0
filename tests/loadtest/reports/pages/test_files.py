import hashlib

from sample_results import load_reports

from loadtest.report_file import read_run
from loadtest.reports.collection import read
from loadtest.reports.pages import files


def test_a_run_is_written_in_four_forms_and_read_back(tmp_path):
    """report.json is the report itself; CSV, Markdown and HTML lie beside it."""
    report = load_reports.report()

    files.write_run(report, tmp_path / "run")

    assert {path.name for path in (tmp_path / "run").iterdir()} == set(files.NAMES)
    sha256 = hashlib.sha256((tmp_path / "run" / "report.json").read_bytes()).hexdigest()
    assert sha256 in (tmp_path / "run" / "report.html").read_text()
    assert sha256 in (tmp_path / "run" / "report.md").read_text()
    assert read_run(tmp_path / "run") == report
    assert read(tmp_path / "run").results[0].report == report
