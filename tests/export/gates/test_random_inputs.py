from dataclasses import replace

import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import TensorProto, helper

from export.convert import to_onnx
from export.errors import ExportError, GateFailed
from export.gates import random_arrays, random_inputs
from export.sources import saved_model
from export.sources.serving_session import ServingSession
from serving.protos.tensorflow_example_pb2 import Example
from serving.tensors.feature_spec import FeatureKind, FeatureSpec
from serving.tensors.signature import DataType, Signature, TensorSpec


@pytest.fixture
def two_graphs(two_signatures, tmp_path):
    """A copy of `two_signatures` with its two ONNX graphs, and its signatures."""
    saved_model.copy(two_signatures, tmp_path / "two")
    signatures = saved_model.read_signatures(tmp_path / "two")
    to_onnx.write(tmp_path / "two", signatures, model_name="two")
    return tmp_path / "two", signatures


def check(folder, signatures, *, free_size):
    with ServingSession(folder) as session:
        return random_inputs.check(session, folder, signatures, free_size=free_size)


def draw(dtype, shape=(1000,)):
    spec = TensorSpec(dtype=dtype, shape=shape, tensor="x", graph_name="x:0")
    return random_arrays.random_array(spec, np.random.default_rng(0), rows=5, free_size=7)


def test_random_values_suit_their_dtype():
    """8-bit types cover all values, int64 is 0 to 9 to suit indices, floats have both signs."""
    assert set(draw(DataType.DT_UINT8, (10_000,))) == set(range(256))
    assert set(draw(DataType.DT_INT8, (10_000,))) == set(range(-128, 128))
    assert set(draw(DataType.DT_INT64)) == set(range(10))
    assert set(draw(DataType.DT_BOOL)) == {True, False}
    assert draw(DataType.DT_FLOAT).min() < -1 < 1 < draw(DataType.DT_FLOAT).max()


@pytest.mark.parametrize(
    "dtype", [DataType.DT_BOOL, DataType.DT_HALF, DataType.DT_DOUBLE, DataType.DT_UINT32]
)
def test_random_arrays_have_the_dtype_and_shape(dtype):
    """A free first dimension gets `rows`, the other free dimensions `free_size`."""
    array = draw(dtype, (-1, -1, 3))

    assert array.dtype == dtype.numpy
    assert array.shape == (5, 7, 3)


def test_right_graphs_pass(two_graphs):
    """Every output of every signature is compared at both batch sizes."""
    findings = check(*two_graphs, free_size=16)

    assert len(findings) == 10
    assert max(finding["max_abs_delta"] for finding in findings) < 1e-5


def test_wrong_graph_fails(two_graphs):
    """A weight off by 1 % is found, and the report says in which signature and output."""
    folder, signatures = two_graphs
    model = onnx.load(folder / "model.onnx")
    weights = next(x for x in model.graph.initializer if list(x.dims) == [4, 3])
    values = onnx.numpy_helper.to_array(weights) * np.float32(1.01)
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(model, folder / "model.onnx")

    with pytest.raises(GateFailed) as failure:
        check(folder, signatures, free_size=16)

    report = str(failure.value)
    assert "signature 'serving_default', 5 rows, output 'score'" in report
    assert "output 'x'" not in report
    assert "sum/up" not in report
    assert "nothing was published" in report


def test_other_dtype_fails(two_graphs):
    """Equal values in another dtype are a difference: clients decode by dtype."""
    folder, signatures = two_graphs
    model = onnx.load(folder / "model.sum_up.onnx")
    model.graph.node.add(op_type="Cast", input=["total"], output=["wide"]).attribute.append(
        onnx.helper.make_attribute("to", onnx.TensorProto.DOUBLE)
    )
    for node in model.graph.node:
        node.output[:] = [{"total": "t", "wide": "total"}.get(name, name) for name in node.output]
        node.input[:] = ["t" if name == "total" else name for name in node.input]
    next(x for x in model.graph.output if x.name == "total").type.tensor_type.elem_type = 11
    onnx.save(model, folder / "model.sum_up.onnx")

    with pytest.raises(GateFailed, match=r"output 'total': float64\(1,\), expected float32\(1,\)"):
        check(folder, signatures, free_size=16)


def test_model_that_refuses_random_inputs_is_an_input_error(tmp_path):
    """If a model needs a certain size for a free dimension, the refusal names --free-size."""
    module = tf.Module()
    weights = tf.ones((5, 2))
    module.function = tf.function(
        lambda x: {"y": tf.matmul(x, weights)},
        input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")],
    )
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.function})
    signatures = saved_model.read_signatures(tmp_path)
    to_onnx.write(tmp_path, signatures, model_name="five")

    with pytest.raises(ExportError, match=r"refuses random inputs \(x float32\(1, 16\)\).*--free"):
        check(tmp_path, signatures, free_size=16)
    assert len(check(tmp_path, signatures, free_size=5)) == 2


@pytest.mark.parametrize(
    ("function", "shapes"),
    [(lambda x: {"y": x + 1}, 4), (lambda x: {"y": tf.reduce_sum(x, axis=1)}, 0)],
    ids=["any", "at least a matrix"],
)
def test_inputs_of_any_rank_are_asked_with_those_that_tensorflow_answers(
    tmp_path, function, shapes
):
    """An input of unknown rank is asked at a rank that TensorFlow takes.

    If the graph declares no rank either, other ranks are compared, too.
    """
    module = tf.Module()
    spec = tf.TensorSpec(None, tf.float32, name="x")
    module.function = tf.function(function, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.function})
    signatures = saved_model.read_signatures(tmp_path)
    signatures = to_onnx.write(tmp_path, signatures, model_name="any")

    findings = check(tmp_path, signatures, free_size=3)

    assert [finding["rows"] for finding in findings if "rows" in finding] == [1, 5]
    assert len([finding for finding in findings if "shape" in finding]) == shapes


def test_inputs_of_known_rank_get_several_rows_beside_those_of_any_rank(tmp_path):
    """The rows of `x` are free, the rank of `any` is."""
    infos = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("any", TensorProto.FLOAT, None),
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "graph",
        infos,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
    )
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    signature = Signature(
        method_name="tensorflow/serving/predict",
        file="model.onnx",
        inputs={
            name: TensorSpec(dtype=DataType.DT_FLOAT, shape=shape, tensor=name, graph_name=name)
            for name, shape in (("x", (-1, 3)), ("any", None))
        },
        outputs={},
    )
    asked = []

    class Reference:
        def ask(self, _signature, inputs):
            asked.append([inputs[name].shape for name in ("x", "any")])
            return {}

    random = np.random.default_rng(0)
    questions = list(
        random_inputs._of_ranks(Reference(), signature, tmp_path / "model.onnx", random, 3)
    )

    assert asked == [[(5, 3), shape] for shape in ((), (3,), (2, 3), (0, 3))]
    assert [place["shape"] for place, _, _ in questions] == [[], [3], [2, 3], [0, 3]]


def test_examples_are_drawn_beside_the_other_inputs():
    """As many as rows; with indices below 2 if TensorFlow refuses larger integers."""
    tensor = TensorSpec(dtype=DataType.DT_INT64, shape=(-1, 2), tensor="n", graph_name="n:0")
    text = replace(tensor, dtype=DataType.DT_STRING, shape=(-1,), tensor="e", graph_name="e:0")
    signature = Signature(
        method_name="tensorflow/serving/predict",
        file="model.onnx",
        inputs={"examples": text, "m": tensor},
        outputs={},
        feature_spec={"n": FeatureSpec(key="n", kind=FeatureKind.FIXED, tensor=tensor)},
    )
    asked = []

    class OfTwoRows:
        def ask(self, _signature, inputs):
            asked.append(inputs)
            if inputs["m"].max() > 1:
                raise tf.errors.InvalidArgumentError(None, None, "no such row")
            return {"y": inputs["m"]}

    inputs, outputs = random_inputs._answered(
        OfTwoRows(), signature, "score", np.random.default_rng(0), rows=40, free_size=3, rank=1
    )

    assert len(asked) == 2
    assert inputs is asked[1]
    assert outputs["y"] is inputs["m"]
    for each, largest in zip(asked, (9, 1), strict=True):
        assert set(each) == {"examples", "m"}
        assert each["m"].shape == (40, 2)
        parsed = [Example.FromString(one).features.feature["n"] for one in each["examples"]]
        values = [list(one.int64_list.value) for one in parsed]
        assert np.shape(values) == (40, 2)
        assert np.max(values) == largest


def test_a_graph_is_asked_with_the_features_of_the_examples():
    """Beside the other inputs; constants have a row for each example."""
    tensor = TensorSpec(dtype=DataType.DT_INT64, shape=(-1, 2), tensor="n:0", graph_name="n")
    text = replace(tensor, dtype=DataType.DT_STRING, shape=(-1,), tensor="e:0")
    signature = Signature(
        method_name="tensorflow/serving/predict",
        file="model.onnx",
        inputs={"examples": text, "m": replace(tensor, tensor="m:0")},
        outputs={
            "names": replace(text, shape=(-1, 2), tensor="", constant=("a", "b")),
            "y": replace(tensor, tensor="y:0"),
        },
        feature_spec={"n": FeatureSpec(key="n", kind=FeatureKind.FIXED, tensor=tensor)},
    )
    example = Example()
    example.features.feature["n"].int64_list.value.extend([3, 4])
    inputs = {
        "examples": np.array([example.SerializeToString()] * 3, object),
        "m": np.ones((3, 2), np.int64),
    }

    class Session:
        def run(self, names, feeds):
            assert names == ["y:0"]
            return [feeds["n:0"] + feeds["m:0"]]

    answer = random_inputs._ask_onnx(Session(), signature, inputs)

    assert answer["y"].tolist() == [[4, 5]] * 3
    assert answer["names"].tolist() == [[b"a", b"b"]] * 3
    assert set(inputs) == {"examples", "m"}


def test_a_refusal_names_the_signature_and_all_inputs():
    """With dtypes and shapes, TensorFlow's reason and the way out."""

    class Reference:
        def ask(self, _signature, _inputs):
            raise tf.errors.InvalidArgumentError(None, None, "too small")

    inputs = {"x": np.zeros((5, 3), np.float32), "n": np.zeros(2, np.int64)}

    with pytest.raises(ExportError, match=r"too small; .* pass --free-size") as raised:
        random_inputs._ask_tensorflow(Reference(), None, inputs, "score")

    assert "signature 'score' refuses random inputs (x float32(5, 3), n int64(2,)): " in str(
        raised.value
    )


def sound(folder, function, *shape):
    """Write a SavedModel of a waveform and its graph; return the folder and the signatures."""
    module = tf.Module()
    spec = tf.TensorSpec(shape, tf.float32, name="x")
    module.function = tf.function(lambda x: {"y": function(x)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), {"serving_default": module.function})
    signatures = saved_model.read_signatures(folder)
    to_onnx.write(folder, signatures, model_name="sound")
    return folder, signatures


def windows(x):
    """Return sums over windows of 400 samples; shorter waveforms are refused."""
    return tf.nn.conv1d(x[:, :, None], tf.ones((400, 1, 2)), stride=160, padding="VALID")


def test_waveforms_are_asked_with_a_second_of_sound(tmp_path):
    """If TensorFlow refuses small sizes, larger ones are tried, here 16,000 samples."""
    asked = []
    folder, signatures = sound(tmp_path / "waves", windows, None, None)

    with ServingSession(folder) as session:
        random_inputs.check(session, folder, signatures, asked=asked)

    assert [each.inputs["x"].shape for each in asked] == [(1, 16_000), (5, 16_000)]
    assert [each.outputs["y"].shape for each in asked] == [(1, 98, 2), (5, 98, 2)]


def test_one_waveform_without_a_batch_is_asked_in_two_lengths(tmp_path):
    """If TensorFlow refuses one row, the first dimension is tried as a free size."""
    asked = []
    folder, signatures = sound(tmp_path / "wave", lambda x: windows(x[None]), None)

    with ServingSession(folder) as session:
        random_inputs.check(session, folder, signatures, asked=asked)

    assert [each.inputs["x"].shape for each in asked] == [(16_000,), (32_000,)]


def test_free_size_reaches_the_first_dimension(tmp_path):
    """If a batch is refused, the first dimension gets `free_size` and no other size."""
    folder, signatures = sound(tmp_path / "wave", lambda x: windows(x[None]), None)

    assert len(check(folder, signatures, free_size=800)) == 2
    with pytest.raises(ExportError, match=r"x float32\(1,\).* pass --free-size"):
        check(folder, signatures, free_size=7)
