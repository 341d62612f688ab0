import re
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from sample_results import load_reports, matrix_reports

from loadtest.reports.pages import files
from loadtest.reports.readme import table
from loadtest.reports.readme.figures import digest

# A digest as version 0.1.0 wrote it.
OLD = Path(__file__).parents[3] / "data" / "schemas" / "0.1.0" / "digest.json"
PAGE = f"# Project\n\n{table.BEGIN}\nold\n{table.END}\n\nMore.\n"


@pytest.fixture
def report(tmp_path) -> Path:
    """A matrix with a capacity search, written."""
    search = load_reports.capacity([(100, True, 3), (400, False, 30), (200, True, 9)])
    reports = [*matrix_reports.matrix(), search]
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
    """The caption says how many runs counted, and which rules the others broke."""
    invalid = load_reports.limited_by_client(load_reports.report(n=700))
    reports = [load_reports.report(n=700), invalid]

    text = table.render_short(digest(load_reports.collection(reports)), "a.svg", "b.md")

    assert "1 of 2 runs counted; the other was INVALID: client-cpu." in text
    assert "(n = 700)" in text


def test_each_reason_has_its_number_of_runs():
    """Runs with different reasons are counted apart; an unconfirmed search has its own."""
    search = load_reports.capacity([(100, True, 3), (200, False, 30)])
    reports = [
        load_reports.report(n=700),
        *[load_reports.limited_by_client(load_reports.report(n=700))] * 2,
        load_reports.changed(search, {"capacity.confirmed": False}),
    ]

    text = table.render(digest(load_reports.collection(reports)))

    assert (
        "1 of 4 runs counted; of the others, 2 were INVALID: client-cpu, 1 was not confirmed."
        in text
    )
    assert "n = 700 (1 of 3 runs counted; 2 INVALID: client-cpu) |" in text
    assert "| not confirmed |" in text


@pytest.mark.parametrize(
    ("address", "started", "words"),
    [
        pytest.param(
            "127.0.0.1:8500",
            True,
            "Target cpu: `python -m serving`, started by the load test. Client and server on the "
            "same machine, 2 cores (Imaginary CPU @ 2.0 GHz).",
            id="started",
        ),
        pytest.param(
            "[::1]:8500",
            False,
            "Target cpu: a server that was running at a loopback address. Client and server on "
            "the same machine, 2 cores (Imaginary CPU @ 2.0 GHz).",
            id="loopback",
        ),
        pytest.param(
            "models.example.com:8500",
            False,
            "Target cpu: a server that was reached over the network; its machine is unknown. "
            "Client: 2 cores (Imaginary CPU @ 2.0 GHz).",
            id="network",
        ),
    ],
)
def test_the_caption_says_what_was_measured_and_where(address, started, words):
    """Client and server share a machine only if the load test can know it."""
    collection = load_reports.collection([load_reports.report(target=address)])
    if not started:
        running = [replace(one, server_process=None) for one in collection.results]
        collection = replace(collection, results=running)

    text = table.render(digest(collection))

    assert words in text
    assert "The only run counted." in text


def test_a_missing_figure_has_its_reason():
    """A p99 of too few answers is n/a, and below the table is the number that it needs."""
    text = table.render(digest(load_reports.collection([load_reports.report(n=300)])))

    assert " / n/a ms, n = 300 |" in text
    assert "-: not measured. n/a: p99 needs 662 answers in a run." in text


def test_a_digest_of_an_older_version_is_read():
    """Without reasons and servers, the text says that the reasons are not in the digest."""
    document = table._read_digest(OLD, OLD.read_text())

    text = table.render(document)

    assert "| of 8: 1.25 / 1.93 ms, n = 700 (1 of 3 runs counted) |" in text
    assert (
        "26 of 30 runs counted; the other 4 were INVALID (the digest does not say why, as an older "
        "version wrote it)." in text
    )
    assert "Target local: `python -m serving`, started by the load test. Client and server" in text


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
    """MLPerf's rule: INVALID stands where the figure would, with the rule that was broken."""
    reports = [
        load_reports.limited_by_client(load_reports.report()),
        load_reports.report(kind="offline", batch=32, slo_ms=None),
    ]

    row = table.render(digest(load_reports.collection(reports))).splitlines()[2]

    assert "| INVALID: client-cpu |" in row
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
    assert "n = 1,400 (2 of 3 runs counted; 1 INVALID: check-0)" in row


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
