import re
import subprocess
import sys
from pathlib import Path

import load_reports
import pytest

from loadtest.reports.pages import files
from loadtest.reports.readme import table
from loadtest.reports.readme.figures import digest

PAGE = f"# Project\n\n{table.BEGIN}\nold\n{table.END}\n\nMore.\n"


@pytest.fixture
def report(tmp_path) -> Path:
    """A matrix with a capacity search, written."""
    search = load_reports.capacity([(100, True, 3), (400, False, 30), (200, True, 9)])
    reports = [*load_reports.matrix(), search]
    files.write(load_reports.collection(reports), tmp_path / "report")
    return tmp_path / "report"


@pytest.fixture
def page(tmp_path) -> Path:
    """A README with a place for the table."""
    file = tmp_path / "README.md"
    file.write_text(PAGE)
    return file


@pytest.fixture
def details(tmp_path) -> Path:
    """A page with a place for the table of all loads."""
    file = tmp_path / "docs" / "performance.md"
    file.parent.mkdir()
    file.write_text(PAGE)
    return file


@pytest.fixture
def command(tmp_path, page, details):
    """Runs `python -m loadtest readme` on these pages and a digest beside them."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        flags = (
            *("--readme", page, "--details", details),
            *("--digest", tmp_path / "docs" / "loadtest.json", *arguments),
        )
        return subprocess.run(
            [sys.executable, "-m", "loadtest", "readme", *map(str, flags)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_the_tables_are_written_between_the_marks(command, report, page, details, tmp_path):
    """Each page gets a row for each model and precision; the text around the marks stays."""
    result = command("--report", report)

    short, full = page.read_text(), details.read_text()
    models = ["simcnn, fp32", "resnet50, fp32", "resnet50, w8"]
    rows = [line.split(" | ") for line in short.splitlines() if line.startswith("| ")]
    all_loads = [line for line in full.splitlines() if line.startswith("| ")]
    assert result.returncode == 0, result.stderr
    for text in (short, full):
        assert text.startswith(f"# Project\n\n{table.BEGIN}\n\n")
        assert text.endswith(f"\n\n{table.END}\n\nMore.\n")
        assert "Python 3.11.7, ONNX Runtime 1.32.0, grpcio 1.85.1, commit 0123456" in text
        assert "Imaginary CPU @ 2.0 GHz" in text
    assert [row[0] for row in rows[2:]] == [f"| {model}" for model in models]
    assert {len(row) for row in rows} == {4}
    assert [row.split(" | ")[0] for row in all_loads[2:]] == [f"| {model}, CPU" for model in models]
    assert "200 requests/s, p99 within 15 ms, n = 1,000" in all_loads[2]
    assert f"[All loads](docs/performance.md#{table._ANCHOR})" in short
    assert (tmp_path / "docs" / "loadtest.json").stat().st_size < 20_000


def test_the_figure_is_drawn_beside_the_digest(command, report, page, tmp_path):
    """The README shows an SVG file, in which every model has a marker for each of its loads."""
    command("--report", report)

    picture = tmp_path / "docs" / "loadtest.svg"
    titles = re.findall("<title>(.*?)</title>", picture.read_text())
    assert 'src="docs/loadtest.svg"' in page.read_text()
    assert [title for title in titles if title.startswith("simcnn, 1 caller, 1 image at a time: ")]


def test_the_readme_counts_runs_that_are_left_out():
    """The conditions say how many runs were not VALID, without that word."""
    reports = [
        load_reports.report(n=700),
        load_reports.report(n=700, reasons=("too late",)),
    ]

    text = table.render_short(digest(load_reports.collection(reports)), "a.svg", "b.md")

    assert "Left out: 1 of 2 runs, which broke the load test's rules." in text
    assert "(n = 700)" in text
    assert "VALID" not in text


@pytest.mark.parametrize("name", ["README.md", "docs/performance.md", "docs/loadtest.svg"])
def test_a_file_that_says_otherwise_is_found(command, report, tmp_path, name):
    """--check passes after writing, fails after an edit by hand, and repairs nothing."""
    command("--report", report)
    fine = command("--check")
    file = tmp_path / name
    edited = file.read_text().replace("resnet50", "resnet51")
    file.write_text(edited)

    wrong = command("--check")

    assert fine.returncode == 0
    assert wrong.returncode == 2
    assert f"{file} does not say what" in wrong.stderr
    assert file.read_text() == edited


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("# Project\n", id="none"),
        pytest.param(f"{table.END}\n{table.BEGIN}\n", id="wrong-order"),
        pytest.param(PAGE + PAGE, id="twice"),
    ],
)
def test_a_page_without_a_place_for_it_is_refused(command, report, page, text):
    """The message gives the two lines that are needed."""
    page.write_text(text)

    result = command("--report", report)

    assert result.returncode == 2
    assert table.BEGIN in result.stderr
    assert page.read_text() == text


def test_a_report_without_a_valid_run_changes_nothing(command, page, details, tmp_path):
    """One line says why there is nothing to quote; neither pages nor digest are written."""
    invalid = load_reports.report(reasons=("a busy client",))
    files.write_run(invalid, tmp_path / "invalid")

    result = command("--report", tmp_path / "invalid")

    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "nothing to quote: No load was measured in a valid run." in result.stderr
    assert page.read_text() == details.read_text() == PAGE
    assert not (tmp_path / "docs" / "loadtest.json").exists()


def test_what_is_not_valid_is_not_quoted():
    """MLPerf's rule: INVALID stands where the figure would."""
    reports = [
        load_reports.report(reasons=("client too late",)),
        load_reports.report(kind="offline", batch=32, slo_ms=None),
    ]

    row = table.render(digest(load_reports.collection(reports))).splitlines()[2]

    assert "| INVALID |" in row
    assert "images/s, n = 32,000 |" in row


def test_figures_are_those_of_the_valid_runs_and_say_so():
    """One of three runs that is not VALID is left out of median and n, not of the count."""
    reports = [
        load_reports.changed(
            load_reports.report(n=700, reasons=reasons), {"latency_ms.p50": p50_ms}
        )
        for p50_ms, reasons in ((1.0, ()), (2.0, ()), (9.0, ("too late",)))
    ]

    row = table.render(digest(load_reports.collection(reports))).splitlines()[2]

    assert "| 1.5 / " in row
    assert "n = 1,400 (2 of 3 runs VALID)" in row


def test_a_capacity_that_was_not_confirmed_is_not_quoted():
    """The search ended before a longer run at that rate had passed."""
    report = load_reports.capacity([(100, True, 3), (200, False, 30)])
    report = load_reports.changed(report, {"capacity.confirmed": False})

    load = digest(load_reports.collection([report])).rows[0].loads["capacity"]

    assert (load.runs, load.valid_runs, load.capacity_per_second) == (1, 0, None)


def test_the_fastest_batch_stands_for_offline():
    """Of several batch sizes the table quotes the best."""
    reports = [
        load_reports.changed(
            load_reports.report(kind="offline", batch=batch, slo_ms=None),
            {"throughput.images_per_second": speed},
        )
        for batch, speed in ((1, 100.0), (8, 900.0), (32, 400.0))
    ]

    row = digest(load_reports.collection(reports)).rows[0]

    assert row.loads["offline"].load == "Offline, batch 8"
