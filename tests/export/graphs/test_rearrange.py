import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from sample_models import tiny_classifiers

from export.graphs import rearrange
from export.graphs.graph import settings


def types(model):
    return [node.op_type for node in model.graph.node]


def pooled(nodes, constants):
    """Return a model of the nodes with input x, float32 (n, 3, 8, 8), and output y."""
    return tiny_classifiers.model(
        nodes,
        constants,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, None, None])],
    )


def stem(padding=(), value=None, **pool):
    """Return a model of Conv, Relu, Pad if there is padding, and MaxPool."""
    random = np.random.default_rng(0)
    constants = {"w": random.standard_normal((4, 3, 3, 3)).astype(np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["r"])]
    if padding:
        constants["around"] = np.array(padding, np.int64)
        inputs = ["r", "around"]
        if value is not None:
            constants["value"] = np.array(value, np.float32)
            inputs.append("value")
        nodes.append(helper.make_node("Pad", inputs, ["p"]))
    source = "p" if padding else "r"
    nodes.append(helper.make_node("MaxPool", [source], ["y"], kernel_shape=[2, 2], **pool))
    return pooled(nodes, constants)


def answer(model):
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("made", "pads"),
    [
        pytest.param(stem(), None, id="no padding"),
        pytest.param(stem((0, 0, 1, 0, 0, 0, 1, 1)), [1, 0, 1, 1], id="padding"),
        pytest.param(stem((0, 0, 1, 1, 0, 0, 0, 0), 0.0), [1, 1, 0, 0], id="zeros"),
        pytest.param(stem((0, 0, 1, 0, 0, 0, 0, 0), pads=[0, 1, 0, 0]), [1, 1, 0, 0], id="both"),
    ],
)
def test_pooling_comes_before_the_activation(made, pads):
    """The MaxPool takes over the padding, the Relu follows it, and no value changes."""
    before = answer(made)

    kept = rearrange.pool_first(made)

    onnx.checker.check_model(made, full_check=True)
    assert types(made) == ["Conv", "MaxPool", "Relu"]
    assert kept == [node.name for node in made.graph.node]
    assert settings(made.graph.node[1]).get("pads") == pads
    np.testing.assert_array_equal(answer(made), before)


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(stem((0, 0, 1, 1, 0, 0, 1, 1), 0.5), id="padded with another value"),
        pytest.param(stem((0, 0, 2, 0, 0, 0, 0, 0)), id="windows of padding alone"),
        pytest.param(stem((0, 0, -1, 0, 0, 0, 0, 0)), id="cropped"),
        pytest.param(stem((0, 1, 0, 0, 0, -1, 0, 0)), id="padded channels"),
    ],
)
def test_pooling_stays_where_order_matters(made):
    """If a MaxPool cannot take over the padding, the model stays unchanged."""
    before = made.SerializeToString()

    kept = rearrange.pool_first(made)

    assert made.SerializeToString() == before
    assert kept == ["Conv_0", "Relu_1"]


def test_an_activation_that_others_read_stays():
    """A Relu that a second node reads cannot move behind the pooling."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[1, 1]),
        helper.make_node("Add", ["r", "p"], ["y"]),
    ]
    made = pooled(nodes, {"w": np.ones((4, 3, 3, 3), np.float32)})

    rearrange.pool_first(made)

    assert types(made) == ["Conv", "Relu", "MaxPool", "Add"]


def test_graph_without_convolution_has_no_first_one():
    """A graph without convolution is left alone, and no node is kept in float32."""
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    made = tiny_classifiers.model(
        nodes,
        {},
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )

    assert rearrange.pool_first(made) == []


def test_dense_layers_are_joined_with_their_biases():
    """Two MatMul with Add become two Gemm, and the classifier answers as before."""
    model, images = tiny_classifiers.classifier(), tiny_classifiers.images(20)
    before, nodes = tiny_classifiers.run(model, images), len(model.graph.node)

    rearrange.join_dense_layers(model)

    onnx.checker.check_model(model, full_check=True)
    assert "MatMul" not in types(model)
    assert types(model).count("Gemm") == 2
    assert types(model).count("Add") == 1  # the residual one
    assert len(model.graph.node) == nodes - 2
    np.testing.assert_allclose(tiny_classifiers.run(model, images), before, atol=1e-6)


def test_what_is_no_dense_layer_stays():
    """A MatMul of a 3-D tensor stays a MatMul, and an Add of a matrix stays an Add."""
    stacks = tiny_classifiers.model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"w": np.ones((3, 2), np.float32)},
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5, 2])],
    )
    added = tiny_classifiers.model(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])],
        {"w": np.ones((3, 2), np.float32), "b": np.ones((1, 2), np.float32)},
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )

    rearrange.join_dense_layers(stacks)
    rearrange.join_dense_layers(added)

    assert types(stacks) == ["MatMul"]
    assert types(added) == ["Gemm", "Add"]
    assert {x.name for x in added.graph.initializer} == {"w", "b"}
    assert numpy_helper.to_array(added.graph.initializer[0]).shape == (3, 2)
