import json
from pathlib import Path

import pytest
from sample_models import arithmetic_models, tiny_models

from serving.errors import DataLoss, FailedPrecondition
from serving.repository import model_folder


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A freshly published version of the brightness model."""
    return tiny_models.brightness(tmp_path)


def test_a_published_version_reads_back(version):
    """Signatures and class names are the same after publishing and reading."""
    folder = model_folder.read(version)

    assert folder.class_names == tiny_models.CLASS_NAMES
    assert folder.onnx_files == {"model.onnx": version / "model.onnx"}
    assert folder.precision == "fp32"
    assert folder.signatures["serving_default"].inputs["images"].shape == (-1, 32, 32, 3)


def test_an_onnx_file_alone_is_a_version(tmp_path):
    """An ONNX file without signature.json is a version; its graph defines the signature."""
    path = tiny_models.identity(tmp_path)

    folder = model_folder.read(path)

    assert folder.onnx_files == {"model.onnx": path / "model.onnx"}
    assert folder.signatures == {}


@pytest.mark.parametrize(
    ("present", "wanted", "chosen", "file"),
    [
        (["fp32", "int8"], ["int8", "fp32"], "int8", "model.int8.onnx"),
        (["fp32", "int8"], ["fp32", "int8"], "fp32", "model.onnx"),
        (["fp32", "w8"], ["int8", "fp32", "w8"], "fp32", "model.onnx"),
        (["w8"], ["int8", "fp32", "w8"], "w8", "model.w8.onnx"),
    ],
)
def test_the_best_precision_there_is_gets_chosen(tmp_path, present, wanted, chosen, file):
    """The first wanted precision that the version has is chosen, with or without model.onnx."""
    path = arithmetic_models.variants(tmp_path, present)

    folder = model_folder.read(path, wanted)

    assert folder.precision == chosen
    assert folder.onnx_files == {"model.onnx": path / file}


def test_a_precision_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    """If the asked precision is missing, the load fails and the message lists the existing ones."""
    path = arithmetic_models.variants(tmp_path, ["fp32", "w8"])

    with pytest.raises(FailedPrecondition, match="not have the precision int8; it has fp32, w8:"):
        model_folder.read(path, ["int8"])


def test_a_precision_counts_if_all_graphs_have_it(tmp_path):
    """A precision is chosen only if the graphs of all signatures have it."""
    for name in ("model.onnx", "model.int8.onnx", "model.square.onnx"):
        (tmp_path / name).write_bytes(b"")
    tensors = {"x": {"dtype": "DT_FLOAT", "shape": [-1], "tensor": "x"}}
    signatures = {
        name: {"method_name": "", "file": file, "inputs": tensors, "outputs": tensors}
        for name, file in (("serving_default", "model.onnx"), ("square", "model.square.onnx"))
    }
    (tmp_path / "signature.json").write_text(json.dumps({"signatures": signatures}))
    (tmp_path / "manifest.json").write_text('{"files": {}}')

    assert model_folder.read(tmp_path, ["int8", "fp32"]).precision == "fp32"
    (tmp_path / "model.square.onnx").rename(tmp_path / "model.square.int8.onnx")
    assert model_folder.read(tmp_path, ["fp32", "int8"]).precision == "int8"


@pytest.mark.parametrize(
    ("files", "graph", "precision"),
    [
        (["model.onnx", "model.int8.onnx"], "model.onnx", "int8"),
        (["any.onnx"], "any.onnx", "fp32"),
        (["any.w8.onnx"], "any.onnx", "w8"),
    ],
)
def test_onnx_files_alone_may_be_variants(tmp_path, files, graph, precision):
    """Without signature.json the file names tell the precisions."""
    for file in files:
        (tmp_path / file).write_bytes(b"")

    folder = model_folder.read(tmp_path, ["int8", "fp32", "w8"])

    assert list(folder.onnx_files) == [graph]
    assert folder.precision == precision


def test_two_onnx_files_of_different_names_are_refused(tmp_path):
    """A folder with two ONNX files of different names is refused: the model would be ambiguous."""
    for file in ("a.onnx", "b.int8.onnx"):
        (tmp_path / file).write_bytes(b"")

    with pytest.raises(DataLoss, match=r"one other .onnx file; found a.onnx, b.int8.onnx"):
        model_folder.read(tmp_path)


def flip_a_bit(version: Path) -> None:
    file = version / "model.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(version: Path) -> None:
    file = version / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1])


def remove_model(version: Path) -> None:
    (version / "model.onnx").unlink()


def remove_manifest(version: Path) -> None:
    (version / "manifest.json").unlink()


def break_manifest(version: Path) -> None:
    (version / "manifest.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_bit, r"model.onnx has SHA-256 \w+, manifest.json says"),
        (truncate, r"model.onnx has \d+ bytes, manifest.json says \d+: truncated"),
        (remove_model, "model.onnx is listed in manifest.json but missing"),
        (remove_manifest, "has signature.json but no manifest.json: the version is incomplete"),
        (break_manifest, "manifest.json cannot be understood"),
    ],
)
def test_a_damaged_version_is_refused(version, damage, message):
    """A version that differs from its manifest is refused; the message names the differing file."""
    damage(version)

    with pytest.raises(DataLoss, match=message):
        model_folder.read(version)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"signatures": {}}, "holds no signature"),
        ({"signatures": {"s": {"method_name": "m"}}}, "cannot be understood"),
        ([], "cannot be understood"),
        (
            {
                "signatures": {
                    "s": {"method_name": "", "file": "x.onnx", "inputs": {}, "outputs": {}}
                }
            },
            "names x.onnx, which is not there",
        ),
    ],
)
def test_a_broken_signature_file_is_refused(version, document, message):
    """A malformed or empty signature.json is refused with DATA_LOSS."""
    (version / "signature.json").write_text(json.dumps(document))
    manifest = json.loads((version / "manifest.json").read_text())
    del manifest["files"]["signature.json"]
    (version / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(DataLoss, match=message):
        model_folder.read(version)


@pytest.mark.parametrize("file", ["saved_model.pb", "saved_model.pbtxt"])
def test_a_saved_model_without_onnx_is_for_tensorflow(tmp_path, file):
    """A SavedModel without ONNX files counts as fp32; other precisions are refused."""
    (tmp_path / file).write_bytes(b"")

    folder = model_folder.read(tmp_path)

    assert folder.is_saved_model
    assert (folder.precision, folder.onnx_files, folder.signatures) == ("fp32", {}, {})
    with pytest.raises(FailedPrecondition, match="does not have the precision int8; it has fp32"):
        model_folder.read(tmp_path, ["int8"])


def test_a_saved_model_beside_onnx_is_a_copy(tmp_path):
    """If a version has an ONNX file and a SavedModel, ONNX Runtime runs the ONNX file."""
    (tmp_path / "saved_model.pb").write_bytes(b"")
    (tmp_path / "any.onnx").write_bytes(b"")

    folder = model_folder.read(tmp_path)

    assert not folder.is_saved_model
    assert list(folder.onnx_files) == ["any.onnx"]


def test_a_folder_without_a_model_is_told_what_it_may_hold(tmp_path):
    """The message lists the files a version may hold; a folder of such a name does not count."""
    (tmp_path / "saved_model.pbtxt").mkdir()

    with pytest.raises(DataLoss, match=r"saved_model.pb or saved_model.pbtxt\); found none"):
        model_folder.read(tmp_path)


def test_versions_are_numbered_folders(tmp_path):
    """Folders named by digits are versions, leading zeros too; other names and files are not."""
    for name in ("1", "0002", "10", "latest", ".publishing-x", "²"):
        (tmp_path / name).mkdir()
    (tmp_path / "11").write_text("a file")

    assert model_folder.list_versions(tmp_path) == [1, 2, 10]
    assert model_folder.version_path(tmp_path, 2).name == "0002"
