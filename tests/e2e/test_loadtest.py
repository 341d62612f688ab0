"""The whole chain: bundled model, real server, load test with all 10,000 test images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import servers

REPOSITORY = Path(__file__).parents[2]
MODELS_DIR = REPOSITORY / "models"
METRICS = MODELS_DIR / "simcnn" / "1" / "metrics.json"
# One image is 0.01 points; two images may be classified otherwise on another processor.
TOLERANCE_POINTS = 0.02


@pytest.mark.timeout(660)
@pytest.mark.skipif(
    not os.environ.get("CIFAR10_DIR"), reason="needs the CIFAR-10 test images (CIFAR10_DIR)"
)
@pytest.mark.skipif(not METRICS.is_file(), reason=f"needs the bundled model ({METRICS.parent})")
def test_accuracy_over_the_wire_is_the_recorded_accuracy(tmp_path):
    """All test images, sent once by eight users, get the accuracy recorded in metrics.json."""
    flags = ("--models_dir", str(MODELS_DIR), "--port", "0")
    with servers.as_process(*flags) as server:
        address = server.wait_for(r"listening on ([\d.]+:\d+)").group(1)
        server.wait_for("ready: .*simcnn")
        load = ["--target", address, "--model", "simcnn", "--version", "1", "--users", "8"]
        load += ["--max-wrong-answers", "2"]
        folders = ["--models-dir", str(MODELS_DIR), "--output-dir", str(tmp_path)]
        finished = subprocess.run(
            [sys.executable, "-m", "loadtest", "run", *load, *folders],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    # The precision that the server reports.
    recorded = json.loads(METRICS.read_text())["variants"][report["model"]["precision"]]
    accuracy = report["accuracy"]
    assert (accuracy["n"], accuracy["distinct_images"]) == (10_000, 10_000)
    assert 100 * abs(accuracy["top1"] - recorded["top1"]) <= TOLERANCE_POINTS
    assert accuracy["recorded"]["same_images"]
    assert report["mismatches"]["compared"] == 10_000
    assert report["mismatches"]["differing"] <= 2
