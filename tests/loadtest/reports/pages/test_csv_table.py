import csv

from msgspec.structs import replace
from sample_results import load_reports, matrix_reports

from loadtest.reports.pages import files
from loadtest.settings.config import GateConfig
from loadtest.verdict import gates


def test_csv_has_a_row_for_every_run(tmp_path, matrix):
    """One line a run with its repeat counted, unknown values empty, line breaks kept inside."""
    document = load_reports.collection([load_reports.hostile(), *matrix_reports.matrix()[:3]])

    files.write(document, tmp_path)

    with (tmp_path / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert [row["repeat"] for row in rows] == ["1", "2", "1", "1"]
    assert rows[0]["reasons"] == load_reports.HOSTILE
    assert rows[0]["p99_9_ms"] == ""
    assert float(rows[1]["p50_ms"]) == document.results[1].report.latency_ms.p50
    assert rows[1]["server_memory_bytes"] == str(200 * 2**20)
    assert rows[1]["onnxruntime"] == "1.32.0"


def test_csv_says_why_fields_are_empty_and_what_the_gates_found(tmp_path):
    """A row has its gates as ok or FAILED, its warnings, and the reason for each empty figure."""
    report = replace(load_reports.report(n=300, slo_ms=None), warnings=["a busy machine"])
    report = replace(report, gates=gates.apply(report, GateConfig(min_accuracy=0.99), None))

    files.write_run(report, tmp_path)

    with (tmp_path / "report.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["gates"] == "complete ok; errors ok; wrong-answers ok; accuracy FAILED"
    assert row["warnings"] == "a busy machine"
    assert row["p99_ms"] == row["goodput_per_second"] == row["server_memory_bytes"] == ""
    for reason in (
        "p99 needs 662 answers in a run",
        "goodput needs a latency bound (--slo-ms)",
        "the load test did not start the server and cannot see its CPU and memory",
    ):
        assert reason in row["missing"].split("; ")
