"""The kit for a rented GPU machine, packed, unpacked and run by its own scripts, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gpu import results
from gpu.kit import tree
from gpu.kit.target import MEGABYTE
from gpu.machine import ROOT
from PIL import Image

from training.data.cifar10 import CLASS_NAMES

GPU = str(ROOT / "tests" / "gpu")
KIT_MEGABYTES = 24  # of ONNX Runtime and ResNet50's graph, so that there are several uploads
MINUTES = 240.0  # limits for a machine that other work makes slow


def write_images(folder: Path) -> Path:
    """Write a small data set as image folders; a class is a brightness."""
    draw = np.random.default_rng(0)
    for split, count in {"train": 12, "test": 4}.items():
        for label, name in enumerate(CLASS_NAMES):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.normal(25 * label, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    """A kit with this environment's ONNX Runtime and small batches of random images."""
    folder = tmp_path_factory.mktemp("kit")
    (folder / "bin").mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        records = np.random.default_rng(0).integers(0, 10, (8, 3073), np.uint8)
        records.tofile(folder / "bin" / f"{name}.bin")
    megabytes = KIT_MEGABYTES + tree.travelling_bytes(ROOT) / MEGABYTE
    command = [sys.executable, GPU, "pack", "--installed-runtime", "--minutes", str(MINUTES)]
    command += ["--output", str(folder), "--data-dir", str(folder / "bin")]
    command += ["--upload-mb", f"{megabytes:.1f}"]
    subprocess.run(command, check=True, timeout=110)
    return folder


def run_scripts(kit: Path, folder: Path, *given: str) -> list[dict]:
    """Run the scripts of all uploads as a rented machine would; return what they print last."""
    environment = os.environ | {
        "CHECKOUT": str(ROOT),
        "WORK": str(folder / "work"),
        "OUT": str(folder / "results"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    said = []
    for upload in sorted(kit.glob("upload-*")):
        command = ["bash", str(upload / "run.sh"), "--device", "cpu", "--small", *given]
        command += ["--models", "simcnn"]
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
        logs = "".join(log.read_text() for log in sorted((folder / "results").glob("log-*")))
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
        said.append(json.loads(done.stdout.splitlines()[-1]))
    return said


@pytest.mark.timeout(300)
def test_no_upload_exceeds_the_limit_and_each_says_what_it_runs(kit):
    """The kit fills several uploads, and the scripts together run every step once."""
    uploads = sorted(kit.glob("upload-*"))
    limit = KIT_MEGABYTES * MEGABYTE

    sizes = [sum(file.stat().st_size for file in upload.iterdir()) for upload in uploads]
    assert len(uploads) > 1
    assert max(sizes) <= limit
    names = " ".join((upload / "run.sh").read_text().splitlines()[1] for upload in uploads)
    for step in ("check", "raw", "server", "simcnn", "resnet50", "deliver"):
        assert names.count(step) == 1
    assert names.count("unpack") == len(uploads)


@pytest.mark.timeout(300)
def test_the_scripts_check_and_measure_on_the_cpu(kit, tmp_path):
    """The scripts unpack the kit's ONNX Runtime, and check, measure and serve with it."""
    data = write_images(tmp_path / "images")

    said = run_scripts(kit, tmp_path, "--data-dir", str(data), "--without", "simcnn", "resnet50")

    names = ("check", "raw", "server")
    found = {name: results.read(tmp_path / f"results/{name}.json") for name in names}
    assert all(line["ok"] for line in said)
    assert (tmp_path / "work/site/onnxruntime/__init__.py").is_file()
    assert [row["precision"] for row in found["check"]["rows"][1:]] == ["fp32", "w8", "fp16"]
    assert all(row["ok"] for row in found["check"]["rows"])
    assert all(step["complete"] for step in found.values())
    assert {row.get("setting") for row in found["server"]["rows"]} >= {"default"}
    assert found["raw"]["commit"] == json.loads((kit / "files/plan.json").read_text())["commit"]


@pytest.mark.slow
def test_a_trained_model_comes_back_through_the_gate(kit, tmp_path):
    """All scripts run; the training comes back, is exported, and appears in gpu.json."""
    data = write_images(tmp_path / "images")

    said = run_scripts(kit, tmp_path, "--data-dir", str(data))
    places = ("--gpu-json", str(tmp_path / "gpu.json"), "--data-dir", str(data))
    for command in ("export", "report"):
        subprocess.run(
            [
                *(sys.executable, GPU, command, str(tmp_path / "results"), *places),
                *("--models-dir", str(tmp_path / "models")),
            ],
            check=True,
            cwd=ROOT,
        )

    merged = results.read(tmp_path / "gpu.json")["steps"]
    (exported,) = merged["export"]["rows"]
    assert all(line["ok"] for line in said)
    assert list(merged) == ["check", "raw", "server", "simcnn", "export"]
    assert all(step["complete"] for step in merged.values())
    assert exported["ok"]
    assert exported["weights"] == "float16"
    assert (tmp_path / "models/simcnn/1/model.onnx").is_file()
    metrics = json.loads((tmp_path / "models/simcnn/1/metrics.json").read_text())
    assert metrics["training"]["transport"]["weights"] == "float16"
