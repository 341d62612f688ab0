"""ONNX files made elsewhere are published and served, or refused in one line."""

import json
import os
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sample_models import odd_models

from export.publishing.from_onnx import publish_onnx
from serving.client import PredictClient
from serving.engine.servable import BatchingConfig, RuntimeConfig, Servable
from serving.repository import model_folder

ML = "ai.onnx.ml"
CLASSES = ("low", "mid", "high")


def save(file, nodes, inputs, outputs, initializers=(), **options):
    graph = helper.make_graph(nodes, "made elsewhere", inputs, outputs, list(initializers))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="tests")
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, file, **options)
    return file


def floats(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def product(file, *, value=2.0, **options):
    """`y = x @ w`, with w of 3 x 100."""
    weights = numpy_helper.from_array(np.full((3, 100), value, np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    inputs, outputs = [floats("x", "n", 3)], [floats("y", "n", 100)]
    return save(file, nodes, inputs, outputs, [weights], **options)


def classifier(file, *, also_matrix=False, **labels):
    """Write a classifier as skl2onnx does, with a label and probabilities from a ZipMap."""
    key = TensorProto.STRING if "classlabels_strings" in labels else TensorProto.INT64
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    nodes = [
        helper.make_node("Softmax", ["x"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["probabilities"], ["output_probability"], domain=ML, **labels),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        helper.make_value_info("output_probability", maps),
    ]
    if also_matrix:
        outputs.append(floats("probabilities", None, 3))
    return save(file, nodes, [floats("x", None, 3)], outputs)


def load(version):
    return Servable.load("model", 1, version.path, RuntimeConfig(), BatchingConfig())


def test_bare_file_gets_what_a_version_has(tmp_path):
    """A bare file is published with signature, verdict on its rows, manifest and model card."""
    version = publish_onnx(product(tmp_path / "a.onnx"), tmp_path / "models", name="product")

    folder = model_folder.read(version.path)
    signature = folder.signatures["serving_default"]
    assert version.path == tmp_path / "models" / "product" / "1"
    assert signature.inputs["x"].shape == (-1, 3)
    assert [verdict.independent for verdict in signature.verdicts.values()] == [True]
    assert set(folder.digests) == {"model.onnx", "signature.json", "metrics.json", "MODEL_CARD.md"}
    assert (version.path / "model.onnx").read_bytes() == (tmp_path / "a.onnx").read_bytes()
    card = (version.path / "MODEL_CARD.md").read_text()
    assert "An ONNX file made elsewhere (by tests)" in card
    assert "CIFAR" not in card
    assert "SavedModel" not in card


def test_published_file_is_served(tmp_path, running_server):
    """A client gets the published classifier's probabilities as a matrix over gRPC."""
    source = classifier(tmp_path / "c.onnx", classlabels_strings=list(CLASSES))
    publish_onnx(source, tmp_path / "models", name="classes")
    x = np.array([[1, 2, 3], [3, 2, 1]], np.float32)

    with running_server(tmp_path / "models") as target, PredictClient(target) as client:
        answer = client.predict("classes", {"x": x})

    exponentials = np.exp(x)
    np.testing.assert_allclose(
        answer["output_probability"],
        exponentials / exponentials.sum(axis=1, keepdims=True),
        rtol=1e-6,
    )
    assert answer["label"].tolist() == [2, 0]


@pytest.mark.parametrize("also_matrix", [False, True], ids=["alone", "beside the matrix"])
@pytest.mark.parametrize(
    "labels",
    [{"classlabels_strings": list(CLASSES)}, {"classlabels_int64s": [7, 8, 9]}],
    ids=["strings", "integers"],
)
def test_zip_map_is_cut_off(tmp_path, labels, also_matrix):
    """A ZipMap is removed; the output keeps its name, and its labels become class names."""
    source = classifier(tmp_path / "c.onnx", also_matrix=also_matrix, **labels)

    version = publish_onnx(source, tmp_path / "models", name="classes")

    folder = model_folder.read(version.path)
    graph = onnx.load(version.path / "model.onnx").graph
    assert [node.op_type for node in graph.node] == ["Softmax", "ArgMax"]
    assert [info.name for info in graph.output] == ["label", "probabilities"]
    assert folder.signatures["serving_default"].outputs["output_probability"].shape == (-1, 3)
    assert folder.class_names == tuple(map(str, next(iter(labels.values()))))
    servable = load(version)
    assert set(servable.signatures["serving_default"].outputs) == {"label", "output_probability"}
    servable.close()


def test_external_data_is_taken_along(tmp_path):
    """External data keep their path below the version's folder and are in the manifest."""
    (tmp_path / "source" / "weights").mkdir(parents=True)
    source = product(
        tmp_path / "source" / "m.onnx",
        value=3.0,
        save_as_external_data=True,
        location="weights/w.bin",
        size_threshold=0,
    )

    version = publish_onnx(source, tmp_path / "models", name="large")

    assert (version.path / "weights" / "w.bin").stat().st_size == 1200
    assert "weights/w.bin" in model_folder.read(version.path).digests
    assert version.metrics["source"]["external_data"] == ["weights/w.bin"]
    servable = load(version)
    answer = servable.run("serving_default", {"x": np.ones((1, 3), np.float32)}, ["y"])
    servable.close()
    np.testing.assert_array_equal(answer["y"], np.full((1, 100), 9, np.float32))


@pytest.mark.parametrize("text", ["low\nmid\n\nhigh\n", json.dumps(CLASSES)], ids=["lines", "json"])
def test_class_names_come_from_a_file(call, tmp_path, text):
    """`--class-names` reads one name per line or a JSON list, and beats the ZipMap's labels."""
    source = classifier(tmp_path / "c.onnx", classlabels_int64s=[0, 1, 2])
    (tmp_path / "names").write_text(text)
    arguments = ("--name", "c", "--models-dir", tmp_path / "m", "--class-names", tmp_path / "names")

    code, lines, stderr = call("onnx", source, *arguments)

    assert (code, stderr) == (0, "")
    assert lines[-1].startswith(f"published {tmp_path}/m/c/1: serving_default")
    assert model_folder.read(tmp_path / "m" / "c" / "1").class_names == CLASSES


def test_class_names_of_the_metadata_are_kept(tmp_path):
    """Class names in the model's metadata, where this project's exports have them, are kept."""
    model = onnx.load(product(tmp_path / "m.onnx"))
    helper.set_model_props(model, {"class_names": json.dumps([str(n) for n in range(100)])})
    onnx.save(model, tmp_path / "m.onnx")

    version = publish_onnx(tmp_path / "m.onnx", tmp_path, name="named")

    assert len(model_folder.read(version.path).class_names) == 100


def test_version_is_chosen_once(call, tmp_path):
    """`--version N` publishes version N or is refused; without it the next number is used."""
    arguments = ("onnx", product(tmp_path / "m.onnx"), "--name", "p", "--models-dir", tmp_path)

    first = call(*arguments, "--version", 41)
    again = call(*arguments, "--version", 41)
    following = call(*arguments)

    assert (first[0], again[0], following[0]) == (0, 2, 0)
    assert "has a version 41 already" in again[2]
    assert following[1][-1].startswith(f"published {tmp_path}/p/42:")


def _external(folder, location):
    file = product(folder / "m.onnx", save_as_external_data=True, location="w", size_threshold=0)
    model = onnx.load(file, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    file.write_bytes(model.SerializeToString())
    return file


def _written(folder, content):
    (folder / "m.onnx").write_bytes(content)
    return folder / "m.onnx"


def _odd(make):
    return lambda folder: make(folder) / "model.onnx"


def _node(op, domain="", **attributes):
    def write(folder):
        nodes = [helper.make_node(op, ["x"], ["y"], domain=domain, **attributes)]
        return save(folder / "m.onnx", nodes, [floats("x", "n", 3)], [floats("y", "n", 3)])

    return write


REFUSED = {
    "missing": (lambda folder: folder / "no.onnx", "does not exist, expected an ONNX file"),
    "folder": (lambda folder: folder, "is a folder, expected an ONNX file"),
    "empty": (lambda folder: _written(folder, b""), "not an ONNX model with outputs"),
    "garbage": (lambda folder: _written(folder, b"\xff\xfe" * 99), "is not an ONNX model"),
    "text": (lambda folder: _written(folder, b"a model, I think"), "is not an ONNX model"),
    "truncated": (
        lambda folder: _written(folder, product(folder / "w.onnx").read_bytes()[:-200]),
        "ONNX",
    ),
    "sequence": (_odd(odd_models.sequence), 'output "y" of .* is a sequence'),
    "optional": (_odd(odd_models.optional), 'input "x" of .* is optional'),
    "unknown operator": (_node("Frobnicate"), "Frobnicate"),
    "unknown domain": (_node("Relu", "my.own"), "my.own"),
    "data outside": (lambda folder: _external(folder, "../w"), "in its own folder or below"),
    "data by an absolute path": (lambda folder: _external(folder, "/etc/hosts"), "own folder"),
    "data gone": (lambda folder: _external(folder, "gone"), "gone, which cannot be read"),
    "data in the place of a paper": (lambda folder: _external(folder, "metrics.json"), "a name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_in_one_line(call, tmp_path, name):
    """A refusal has exit code 2 and one line on stderr, and leaves no file in the models folder."""
    write, told = REFUSED[name]
    (tmp_path / "source").mkdir()

    code, _, stderr = call(
        "onnx", write(tmp_path / "source"), "--name", "odd", "--models-dir", tmp_path / "models"
    )

    assert code == 2
    assert stderr.count("\n") == 1
    assert stderr.startswith("error: ")
    assert re.search(told, stderr)
    assert not list((tmp_path / "models").rglob("*"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"one\ntwo\n",
            "2 class names received, expected one for each column of an output (columns by",
        ),
        (b"", "holds no name"),
        (b"a\na\n", "holds 'a' more than once"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
    ids=["too few", "empty", "twice", "no text"],
)
def test_wrong_class_names_are_refused(call, tmp_path, content, told):
    """Too few class names, none, one twice, and bytes that are no text are refused."""
    (tmp_path / "names").write_bytes(content)
    source = product(tmp_path / "m.onnx")
    arguments = ("--name", "p", "--models-dir", tmp_path / "m", "--class-names", tmp_path / "names")

    code, _, stderr = call("onnx", source, *arguments)

    assert (code, stderr.count("\n")) == (2, 1)
    assert told in stderr


def test_file_is_published_without_tensorflow(run_export, tmp_path):
    """`onnx` publishes a file in a process that cannot import TensorFlow."""
    (tmp_path / "blocked" / "tensorflow").mkdir(parents=True)
    (tmp_path / "blocked" / "tensorflow" / "__init__.py").write_text("raise ImportError\n")
    path = os.pathsep.join([str(tmp_path / "blocked"), os.environ.get("PYTHONPATH", "")])

    done = run_export(
        "onnx",
        product(tmp_path / "m.onnx"),
        "--name",
        "p",
        "--models-dir",
        tmp_path,
        PYTHONPATH=path,
    )

    assert (done.returncode, done.stderr) == (0, "")
