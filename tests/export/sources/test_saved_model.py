import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export.errors import ExportError
from export.sources import saved_model


def alter(source, target, change):
    """Copy a SavedModel, change its MetaGraphDef, and return the copy's folder."""
    saved_model.copy(source, target)
    file = target / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(message.meta_graphs[0])
    file.write_bytes(message.SerializeToString())
    return target


def test_default_signature_comes_first(two_signatures):
    """serving_default comes first and gets model.onnx; other names become safe file names."""
    signatures = saved_model.read_signatures(two_signatures)

    files = [(name, signature.file) for name, signature in signatures.items()]
    assert files == [("serving_default", "model.onnx"), ("sum/up", "model.sum_up.onnx")]


def test_without_a_default_the_first_name_gets_model_onnx(two_signatures):
    """Without serving_default the first signature gets model.onnx."""
    signatures = saved_model.read_signatures(two_signatures, ["sum/up"])

    assert {name: signature.file for name, signature in signatures.items()} == {
        "sum/up": "model.onnx"
    }


def test_file_names_never_collide():
    """No two signatures share a file name, and none has the name of a precision's file."""
    files = saved_model._onnx_files(["serving_default", "a/b", "a_b", "int8"])

    assert files["int8"] == "model.int8_.onnx"
    assert len(set(files.values())) == 4


def test_strings_are_refused_with_the_way_out(with_strings):
    """The refusal names the input, the supported types and the signature that can be converted."""
    with pytest.raises(ExportError) as refusal:
        saved_model.read_signatures(with_strings)

    message = str(refusal.value)
    assert "signature 'serving_default'" in message
    assert "input 'words' is DT_STRING" in message
    assert "serialized tf.Examples that go to tf.io.parse_example" in message
    assert "supported are dense tensors of numbers or booleans" in message
    assert message.endswith("pass --signature summary")


def test_unknown_signature_is_refused(two_signatures):
    """The refusal lists the signatures of the SavedModel."""
    with pytest.raises(ExportError, match=r"no signature other; it has serving_default, sum/up"):
        saved_model.read_signatures(two_signatures, ["other"])


def test_saved_model_without_signatures_is_refused(tmp_path):
    """A SavedModel without signatures is refused."""
    tf.saved_model.save(tf.Module(), str(tmp_path))

    with pytest.raises(ExportError, match="has no signature; expected at least one"):
        saved_model.read_signatures(tmp_path)


def test_unknown_rank_is_kept(two_signatures, tmp_path):
    """An input of unknown rank has the shape None; another input keeps its shape."""

    def forget_rank(graph):
        shape = graph.signature_def["serving_default"].inputs["x"].tensor_shape
        shape.Clear()
        shape.unknown_rank = True

    folder = alter(two_signatures, tmp_path / "copy", forget_rank)

    inputs = saved_model.read_signatures(folder)["serving_default"].inputs
    assert inputs["x"].shape is None
    assert inputs["ids"].shape == (-1, -1)


def test_defaults_are_kept(two_signatures, tmp_path):
    """A default of an input is kept; a default without an input is dropped."""

    def give(graph):
        defaults = graph.signature_def["serving_default"].defaults
        defaults["ids"].CopyFrom(tf.make_tensor_proto([[7]], tf.int64))
        defaults["gone"].CopyFrom(tf.make_tensor_proto(0.5))

    folder = alter(two_signatures, tmp_path / "copy", give)

    defaults = saved_model.read_signatures(folder)["serving_default"].defaults
    assert {alias: (array.dtype.name, array.tolist()) for alias, array in defaults.items()} == {
        "ids": ("int64", [[7]])
    }


def test_element_type_is_the_placeholders(two_signatures, tmp_path):
    """If a signature has another dtype than its placeholder, the placeholder's dtype is used.

    half_plus_three has such a signature.
    """

    def lie(graph):
        graph.signature_def["serving_default"].inputs["ids"].dtype = 1

    folder = alter(two_signatures, tmp_path / "copy", lie)

    inputs = saved_model.read_signatures(folder)["serving_default"].inputs
    assert inputs["ids"].dtype.name == "DT_INT64"


def test_versions_of_a_base_path(two_signatures, tmp_path):
    """`versions` returns numbered folders in order; a SavedModel itself has the number None."""
    for name in ("00000123", "9", "words", "7"):
        (tmp_path / name).mkdir()
        if name != "7":
            (tmp_path / name / "saved_model.pb").touch()

    assert saved_model.versions(tmp_path) == {
        9: tmp_path / "9",
        123: tmp_path / "00000123",
    }
    assert saved_model.versions(two_signatures) == {None: two_signatures}
    assert saved_model.versions(tmp_path / "gone") == {None: tmp_path / "gone"}


def test_element_type_without_numpy_counterpart_is_refused(two_signatures, tmp_path):
    """bfloat16, which NumPy does not have, is refused."""

    def use_bfloat16(graph):
        output = graph.signature_def["serving_default"].outputs["score"]
        output.dtype = tf.bfloat16.as_datatype_enum

    folder = alter(two_signatures, tmp_path / "copy", use_bfloat16)

    with pytest.raises(ExportError, match="output 'score' has element type 14"):
        saved_model.read_signatures(folder)


def test_other_tags_are_refused(two_signatures, tmp_path):
    """A graph without the tag `serve`, which TensorFlow Serving does not load, is refused."""

    def retag(graph):
        graph.meta_info_def.tags[:] = ["train"]

    folder = alter(two_signatures, tmp_path / "copy", retag)

    with pytest.raises(ExportError, match=r"graphs tagged \[\['train'\]\], expected"):
        saved_model.read_signatures(folder)


@pytest.mark.parametrize("content", [None, b"\xff\xff no protocol buffer"])
def test_what_is_no_saved_model_is_refused(tmp_path, content):
    """A folder without saved_model.pb or with a damaged one is refused."""
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)

    with pytest.raises(ExportError, match=r"saved_model\.pb (does not exist|is not a SavedModel)"):
        saved_model.read_signatures(tmp_path)


def test_copy_takes_the_parts_alone(two_signatures, tmp_path):
    """`copy` leaves out files that are no part of the SavedModel, such as a model.onnx."""
    source, target = tmp_path / "source", tmp_path / "target"
    saved_model.copy(two_signatures, source)
    (source / "model.onnx").write_bytes(b"stale")
    (source / "assets").mkdir(exist_ok=True)
    (source / "assets" / "words.txt").write_text("a")

    saved_model.copy(source, target)

    files = {file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()}
    assert files == {
        "assets/words.txt",
        "fingerprint.pb",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    }
