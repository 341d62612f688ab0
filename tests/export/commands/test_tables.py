import json
import os
import subprocess
import sys
from pathlib import Path

from sample_results import sample_metrics as sample

from export.__main__ import main
from export.tables import tables

ROOT = Path(__file__).parents[3]


def call_tables(places: tables.Places, *arguments: object) -> int:
    flags = (
        *("--models-dir", places.models_dir, "--readme", places.readme),
        *("--results-dir", places.results_dir, "--training", places.training),
    )
    return main([str(argument) for argument in ("tables", *arguments, *flags)])


def test_command_writes_and_checks(places, capsys):
    """`--check` exits with 1 until `--write` has run; without a flag the section is printed."""
    for model in ("simcnn", "resnet50"):
        sample.version(places.models_dir, sample.metrics(model))

    before, written, after = (
        call_tables(places, "--check"),
        call_tables(places, "--write"),
        call_tables(places, "--check"),
    )
    captured = capsys.readouterr()
    printed = call_tables(places)

    assert (before, written, after, printed) == (1, 0, 0, 0)
    assert captured.err.startswith("error: ")
    assert captured.err.endswith("run `make docs`\n")
    assert "### Which one?" in capsys.readouterr().out


def test_command_adds_a_run(places, tmp_path, capsys):
    """`--add-run` stores a result without long fields and paths, and docs/training.md shows it."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    result = sample.TRAINING | {"top1": 0.8224, "confusion_matrix": [[1]], "note": "/x/y.keras"}
    (run_dir / "metrics.json").write_text(json.dumps(result))

    code = call_tables(places, "--add-run", run_dir)

    (kept,) = places.results_dir.iterdir()
    assert code == 0
    assert f"written: {kept}" in capsys.readouterr().out
    assert kept.name == "simcnn-best-seed3-20260101T000000.json"
    assert json.loads(kept.read_text()) == sample.TRAINING | {"top1": 0.8224, "note": "y.keras"}
    assert "| 2 h 5 min |" in places.training.read_text()


def test_tables_need_neither_tensorflow_nor_onnx_runtime(places):
    """`tables --check`, which `make lint` runs, imports no TensorFlow, Keras or ONNX Runtime."""
    program = (
        "import sys; from export.__main__ import main; code = main(sys.argv[1:]); "
        "sys.exit(code or bool({'tensorflow', 'keras', 'onnxruntime'} & set(sys.modules)))"
    )
    tables.write(places)
    flags = ("--models-dir", places.models_dir, "--readme", places.readme)
    flags += ("--results-dir", places.results_dir, "--training", places.training)

    done = subprocess.run(
        [sys.executable, "-c", program, "tables", "--check", *map(str, flags)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )

    assert done.returncode == 0
