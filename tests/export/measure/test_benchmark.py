import hashlib
import shutil
from pathlib import Path

import pytest
from sample_models import arithmetic_models, tiny_models

from export.errors import ExportError
from export.measure import benchmark
from export.measure.stopwatch import Turn
from export.papers import speed_table
from serving.repository import model_folder, publishing

QUICK = benchmark.Settings(rounds=2, seconds=0.001, batch_sizes=(1, 4))
CELL = {
    "images_per_second",
    "ms",
    "ms_min",
    "ms_max",
    "calls",
    "cpu_ms_per_image",
    "to_tensorflow",
    "to_fp32",
}


@pytest.fixture
def brightness(tmp_path) -> Path:
    """A version without SavedModel."""
    return tiny_models.brightness(tmp_path)


def test_every_variant_is_timed_at_every_batch_size(brightness):
    """Each precision in the folder is timed at each batch size and compared with fp32."""
    shutil.copyfile(brightness / "model.onnx", brightness / "model.int8.onnx")

    section = benchmark.measure(model_folder.read(brightness), QUICK)

    assert list(section["results"]) == ["fp32", "int8"]
    for result in section["results"].values():
        assert list(result["batches"]) == ["1", "4"]
        for rows, cell in result["batches"].items():
            assert set(cell) == CELL
            assert cell["ms_min"] <= cell["ms"] <= cell["ms_max"]
            assert cell["images_per_second"] == pytest.approx(1e3 * int(rows) / cell["ms"])
            assert cell["calls"] >= 6
            assert cell["to_tensorflow"] is None
    fp32 = section["results"]["fp32"]["batches"]["1"]["to_fp32"]
    assert fp32 == {"median": 1, "min": 1, "max": 1}
    assert "tensorflow" not in section["versions"]


def test_ratios_are_made_within_rounds():
    """Ratios do not change if the machine is half as fast in the second round."""
    turns = {
        ("fp32", 8): [Turn(calls=3, ms=3, cpu_ms=4), Turn(calls=3, ms=6, cpu_ms=8)],
        ("tensorflow", 8): [Turn(calls=3, ms=9, cpu_ms=9), Turn(calls=3, ms=18, cpu_ms=18)],
    }

    cell = benchmark._cell("fp32", 8, turns)

    assert cell["to_tensorflow"] == {"median": 3, "min": 3, "max": 3}
    assert cell["ms"] == 4.5
    assert cell["images_per_second"] == pytest.approx(8 / 4.5e-3)
    assert cell["cpu_ms_per_image"] == pytest.approx(6 / 8)
    assert cell["calls"] == 6


def test_the_float32_graph_may_lie_elsewhere(brightness, tmp_path):
    """A version with only w8 is compared with the fp32 graph given as a file or a folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (brightness / "manifest.json").unlink()
    (brightness / "signature.json").rename(tmp_path / "signature.json")
    shutil.copyfile(brightness / "model.onnx", elsewhere / "model.onnx")
    (brightness / "model.onnx").rename(brightness / "model.w8.onnx")

    def write(path: Path) -> None:
        shutil.copyfile(brightness / "model.w8.onnx", path / "model.w8.onnx")
        shutil.copyfile(tmp_path / "signature.json", path / "signature.json")

    folder = model_folder.read(publishing.publish(tmp_path / "small", write))

    alone = benchmark.measure(folder, QUICK)["results"]
    beside = benchmark.measure(folder, QUICK, fp32=elsewhere)["results"]
    by_file = benchmark.measure(folder, QUICK, fp32=elsewhere / "model.onnx")["results"]

    assert list(alone) == ["w8"]
    assert alone["w8"]["batches"]["1"]["to_fp32"] is None
    assert list(beside) == list(by_file) == ["fp32", "w8"]
    assert beside["w8"]["batches"]["1"]["to_fp32"]["median"] > 0


def test_the_float32_graph_is_that_of_the_version(brightness):
    """A model.onnx with another SHA-256 than the recorded one is refused."""
    folder = model_folder.read(brightness)
    digest = hashlib.sha256((brightness / "model.onnx").read_bytes()).hexdigest()

    benchmark.measure(folder, QUICK, fp32_sha256=digest)
    with pytest.raises(ExportError, match=f"{digest}, but .* --fp32"):
        benchmark.measure(folder, QUICK, fp32_sha256="0" * 64)


def test_other_weights_of_the_same_architecture_are_told(brightness):
    """With `other_weights`, a graph of another training is measured and marked in the record."""
    folder = model_folder.read(brightness)

    section = benchmark.measure(
        folder, QUICK, fp32=brightness, fp32_sha256="0" * 64, other_weights=True
    )
    results = section["results"]

    assert results["fp32"]["other_weights"]
    assert not any("other_weights" in found for name, found in results.items() if name != "fp32")
    assert "weights of another training of the same architecture: fp32." in speed_table.render(
        section
    )


@pytest.mark.parametrize("flag", ["saved_model", "fp32"])
def test_files_that_are_missing_are_named(brightness, tmp_path, flag):
    """The error for a missing file names the flag that gave the file."""
    with pytest.raises(ExportError, match=f"does not exist.* as --{flag.replace('_', '-')}"):
        benchmark.measure(model_folder.read(brightness), QUICK, **{flag: tmp_path})


def test_a_model_of_other_inputs_is_refused(tmp_path):
    """A model whose inputs are not rows of numbers is refused."""
    folder = model_folder.read(arithmetic_models.calculator(tmp_path))

    with pytest.raises(ExportError, match="expected rows of numbers as inputs"):
        benchmark.measure(folder, QUICK)


def test_different_answers_are_not_compared(monkeypatch, brightness):
    """A SavedModel with other answers than the ONNX graph is refused."""
    monkeypatch.setattr(
        benchmark.tensorflow_run,
        "load",
        lambda *_, **__: lambda inputs: 0.5 + 0 * inputs["images"][:, 0, 0, :2].astype("float32"),
    )
    monkeypatch.setattr(benchmark.tensorflow_run, "version", lambda: "0")
    (brightness / "saved_model.pb").touch()

    with pytest.raises(ExportError, match="not of the same model"):
        benchmark.measure(model_folder.read(brightness), QUICK)
