import json

from export.__main__ import main
from export.gates.precision import Limits
from serving.repository import model_folder, publishing

CELL = {
    *("images_per_second", "ms", "ms_min", "ms_max", "calls", "cpu_ms_per_image"),
    *("to_tensorflow", "to_fp32"),
}


def test_benchmark_records_tensorflow_beside_onnx_runtime(run_export, version):
    """The record is in metrics.json and the last line of stdout; card and manifest are updated."""
    done = run_export(
        "benchmark", version, "--rounds", 2, "--seconds", 0.01, "--batch-sizes", 1, 2, "--json"
    )

    assert (done.returncode, done.stderr) == (0, "")
    section = json.loads(done.stdout.splitlines()[-1])
    assert list(section["results"]) == ["fp32", "tensorflow"]
    for result in section["results"].values():
        for cell in result["batches"].values():
            assert set(cell) == CELL
            assert cell["to_tensorflow"]["median"] > 0
            assert cell["to_fp32"]["median"] > 0
    assert section["hardware"]["cores"] >= 1
    assert section["threads"] == 1
    assert set(section["versions"]) == {"python", "numpy", "onnxruntime", "tensorflow"}
    assert json.loads((version / "metrics.json").read_text())["benchmark"] == section
    assert "## Speed" in (version / "MODEL_CARD.md").read_text()
    model_folder.read(version)


def test_another_models_saved_model_is_refused(run_export, version, two_signatures):
    """Another model's SavedModel is refused with the expected signature; no record is written."""
    before = (version / "metrics.json").read_bytes()

    done = run_export("benchmark", version, "--saved-model", two_signatures)

    assert done.returncode == 2
    assert "expected ['images'] to 'probabilities'" in done.stderr
    assert (version / "metrics.json").read_bytes() == before


def test_an_altered_version_is_refused(run_export, version):
    """A version whose graph no longer matches the manifest is not benchmarked."""
    with (version / "model.onnx").open("ab") as file:
        file.write(b"\0")

    done = run_export("benchmark", version)

    assert done.returncode == 2
    assert "model.onnx has" in done.stderr


def test_robustness_records_the_section(version, image_dir, capsys):
    """`robustness` prints its table and records it in metrics.json, model card and manifest."""
    code = main(["robustness", str(version), "--data-dir", str(image_dir)])

    metrics = json.loads((version / "metrics.json").read_text())
    result = metrics["robustness"]["checks"]["jpeg_75"]["variants"]["fp32"]
    assert code == 0
    assert f"| JPEG, quality 75 | fp32 | {100 * result['top1']:.2f} % (" in capsys.readouterr().out
    assert "## Robustness" in (version / "MODEL_CARD.md").read_text()
    model_folder.read(version)


def test_judge_records_the_section(call, run_dir, image_dir, tmp_path, wide_limits):
    """`judge` repeats the decisions of the export, prints them, and records the same figures."""
    options = ["--data-dir", image_dir]
    code, _, error = call(
        *(run_dir, "--models-dir", tmp_path, *options, "--precision", "fp32,w8,int8")
    )
    version = tmp_path / "simcnn" / "1"
    before = json.loads((version / "metrics.json").read_text())

    judged, lines, _ = call("judge", version, *options)

    assert (code, error) == (0, "")
    after = json.loads((version / "metrics.json").read_text())
    found, made = ({**metrics["held_out"], "finished_utc": ""} for metrics in (after, before))
    assert found == made
    rows = [line for line in lines if line.startswith("|")]
    assert [row.split(" | ")[0] for row in rows] == [
        "| Variant",
        "| ---",
        "| fp32",
        "| w8",
        "| int8",
    ]
    model_folder.read(version)
    assert judged == 0


def test_judge_returns_1_if_a_variant_exceeds_a_limit(
    call, run_dir, image_dir, tmp_path, wide_limits
):
    """A published variant that today's limits refuse is reported, and nothing else is changed."""
    options = ["--data-dir", image_dir]
    call(run_dir, "--models-dir", tmp_path, *options, "--precision", "fp32,w8")
    wide_limits["w8"] = Limits(agreement=1.01, drop_points=0)
    version = tmp_path / "simcnn" / "1"
    before = (version / "metrics.json").read_bytes()

    code, lines, error = call("judge", version, *options, "--print-only")

    assert (code, error) == (1, "")
    assert "agrees with fp32 on" in lines[-1]
    assert (version / "metrics.json").read_bytes() == before


def test_judge_needs_held_out_images(call, version, image_dir):
    """A version whose training validated on the test images is refused in one line."""
    metrics = json.loads((version / "metrics.json").read_text())
    metrics["training"]["config"]["validation"] = "test"
    publishing.replace_documents(version, {"metrics.json": json.dumps(metrics)})

    code, _, error = call("judge", version, "--data-dir", image_dir)

    assert code == 2
    assert "held out no images (validation test), so none can judge its variants" in error


def test_print_only_records_nothing(version, image_dir, capsys):
    """`--print-only` prints the table and changes no byte of the version."""
    before = {file.name: file.read_bytes() for file in version.iterdir() if file.is_file()}

    code = main(["robustness", str(version), "--data-dir", str(image_dir), "--print-only"])

    assert code == 0
    assert "quality 95" in capsys.readouterr().out
    after = {file.name: file.read_bytes() for file in version.iterdir() if file.is_file()}
    assert after == before


def test_a_folder_that_is_no_version_is_one_line(tmp_path, capsys):
    """A folder that is no version is refused with one line on stderr."""
    code = main(["robustness", str(tmp_path)])

    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith(f"error: {tmp_path} is not a published version")
    assert error.count("\n") == 1
