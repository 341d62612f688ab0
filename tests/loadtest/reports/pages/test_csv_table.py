import csv

import load_reports

from loadtest.reports.pages import files


def test_csv_has_a_row_for_every_run(tmp_path, matrix):
    """One line a run with its repeat counted, unknown values empty, line breaks kept inside."""
    document = load_reports.collection([load_reports.hostile(), *load_reports.matrix()[:3]])

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
