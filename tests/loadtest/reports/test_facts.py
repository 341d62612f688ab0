import load_reports

from loadtest.reports import facts
from loadtest.reports.collection import merge


def test_the_manifest_names_hardware_versions_commit_and_data(matrix):
    """What every figure needs to be believed, differing values side by side."""
    other = load_reports.report(commit="f" * 40)
    document = merge([matrix, load_reports.collection([other])])

    known = dict(facts.lines(document))

    assert known["commit"] == f"{matrix.results[0].report.manifest.git_commit}; " + ("f" * 40)
    assert known["processor"] == "Imaginary CPU @ 2.0 GHz"
    assert known["server's versions"] == "onnxruntime 1.32.0"
    assert "python 3.11.7" in known["versions"]
    assert "SHA-256 e54a434e" in known["test images"]
    assert known["target"] == "cpu (python -m serving --device=cpu)"
