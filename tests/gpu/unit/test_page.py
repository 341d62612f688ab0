import json
import subprocess
import sys

from gpu import results
from gpu.machine import ROOT
from gpu.results import Results

CHECK = {
    "model": "simcnn",
    "precision": "fp32",
    "images": 10_000,
    "agreement": 0.9999,
    "max_delta": 0.001234,
    "top1": 0.8234,
    "top1_cpu": 0.8235,
    "ok": True,
}
RAW = {"model": "simcnn", "precision": "fp32", "setting": "as served"}
LOAD = {
    "setting": "default",
    "model": "simcnn",
    "rows": 64,
    "in_flight": 48,
    "images_per_second": 123_456,
    "of_raw": 0.876,
    "p50_ms": 1.5,
    "p99_ms": 2.5,
    "cpu_us_per_image": 4.2,
    "calls": 3_000,
    "failed": 0,
}
TRAINING = {
    "model": "resnet50",
    "flags": ["--upsample", "2"],
    "epochs": 30,
    "n": 10_000,
    "top1": 0.93,
    "top1_wilson_95": [0.925, 0.935],
    "train_images_per_second": 12_345.6,
    "wall_seconds": 123.4,
}
EXPORT = {
    "model": "resnet50",
    "weights": "float16",
    "top1": 0.929,
    "n": 10_000,
    "top1_fp32": 0.929,
    "top1_fp16": 0.928,
    "ok": True,
}


def page(document: dict) -> str:
    """Return the page that docs/gpu.py writes for a content of gpu.json."""
    program = (
        "import json, runpy, sys; sys.path.insert(0, ''); page = runpy.run_path('docs/gpu.py'); "
        "print(page['render'](json.load(sys.stdin)), end='')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=ROOT,
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def merged(tmp_path, rows: dict[str, list[dict]]) -> dict:
    """Write results of steps, merge them, and return the content of gpu.json."""
    for name, content in rows.items():
        step = Results(name, tmp_path / "results", device="cpu", commit="0123456789")
        for row in content:
            step.add(row)
        step.finish()
    results.merge(tmp_path / "results", tmp_path / "gpu.json", rehearsal=True)
    return results.read(tmp_path / "gpu.json")


def test_without_results_nothing_is_claimed():
    """Every table has one row, whose cells all say that nothing was measured."""
    rows = [line for line in page({}).partition("## Answers")[2].splitlines() if line[:1] == "|"]

    cells = [set(row.strip("| ").split(" | ")) for row in rows[2::3]]
    assert len(cells) == 6
    assert all(row == {"not measured"} for row in cells)


def test_the_page_shows_every_result_with_its_conditions(tmp_path):
    """Figures of all steps appear in their tables, with machine, versions, commit and date."""
    rates = [
        {"mode": "eager", "batch": batch, "images_per_second": 1000 * batch} for batch in (1, 64)
    ]
    change = {"mode": "alternating", "grouped_us": 1234.0, "alternating_us": 5678.0}
    text = page(
        merged(
            tmp_path,
            {
                "check": [{"smoke": "simcnn", "ok": True}, CHECK],
                "raw": [RAW | row for row in (*rates, change)],
                "server": [{"raw": "simcnn", "batch": 1, "images_per_second": 5}, LOAD],
                "resnet50": [TRAINING],
                "export": [EXPORT],
            },
        )
    )

    for expected in (
        "| simcnn | fp32 | 10,000 | 99.990% | 1.2e-03 | 82.34% (82.35%) | yes |",
        "| simcnn | fp32 | as served | eager | 1,000 |  |  | 64,000 |  |",
        "| simcnn | fp32 | as served | 1,234 | 5,678 |",
        "| default | simcnn | 64 | 48 | 123,456 | 87.6% | 1.5 / 2.5 | 4.2 | 3,000 (0) |",
        "| resnet50 | `--upsample 2` | 30 | 93.00% of 10,000 (92.50% to 93.50%) | 12,346 | 123 |",
        "| resnet50 | float16 | 92.90% of 10,000 | 92.90% | 92.80% | passed |",
        "simcnn: Conditions: not measured.",
        "Conditions: no GPU; ",
        "commit 0123456; device cpu;",
    ):
        assert expected in text


def test_the_page_shows_what_failed(tmp_path):
    """Errors appear with their reason instead of figures."""
    text = page(
        merged(
            tmp_path,
            {
                "check": [{"precision": "fp16", "ok": False, "error": "no | CUDA"}],
                "raw": [RAW | {"error": "out of memory"}],
                "server": [{"setting": "8 workers", "error": "did not start"}],
                "simcnn": [{"model": "simcnn", "flags": [], "error": "did not end within 60 s"}],
                "export": [{"model": "simcnn", "ok": False, "error": "accuracy gate"}],
            },
        )
    )

    for expected in (
        "| all | fp16 |  |  |  |  | no: no / CUDA |",
        "| simcnn | fp32 | as served | no: out of memory |",
        "| 8 workers | no: did not start |",
        "| no: did not end within 60 s |",
        "| no: accuracy gate |",
    ):
        assert expected in text
