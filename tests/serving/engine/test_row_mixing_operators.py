"""Which operators are taken to mix the rows of a batch, and where in a graph."""

import onnx
import pytest
from onnx import TensorProto, helper

from serving.engine.row_mixing_operators import find_row_mixing

FLOATS = [2, 3]


def found(tmp_path, nodes, initializers=(), inputs=("x",), functions=()) -> str:
    """What is said about a graph from `x` to `y`."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, FLOATS) for name in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, FLOATS)],
        list(initializers),
    )
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, functions=list(functions)), file)
    return find_row_mixing(file)


def flag(value: bool, *, raw: bool) -> onnx.TensorProto:
    """A boolean tensor; serialised as raw bytes, or as numbers."""
    content = bytes([value]) if raw else [value]
    return helper.make_tensor("training", TensorProto.BOOL, [], content, raw=raw)


def dropout(training: str = "training") -> onnx.NodeProto:
    return helper.make_node("Dropout", ["x", "ratio", training], ["y"], name="drop")


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_dropout_mixes_rows_in_training_mode(tmp_path, raw, constant, training):
    """The mode is an initializer or a Constant's value, in either of ONNX's encodings."""
    mode = flag(training, raw=raw)
    if constant:
        made = found(
            tmp_path, [helper.make_node("Constant", [], ["training"], value=mode), dropout()]
        )
    else:
        made = found(tmp_path, [dropout()], [mode])

    assert made == ('operator Dropout "drop" may be in training mode' if training else "")


def test_a_dropout_without_a_mode_is_for_inference(tmp_path):
    """The input is optional: left out, or its name empty."""
    bare = helper.make_node("Dropout", ["x", "ratio"], ["y"])

    assert found(tmp_path, [dropout("")]) == ""
    assert found(tmp_path, [bare]) == ""


def test_a_dropout_whose_mode_is_computed_may_be_in_training(tmp_path):
    """Nobody knows what another operator gives."""
    computed = helper.make_node("Cast", ["x"], ["training"], to=TensorProto.BOOL)
    other = helper.make_node("Constant", [], ["other"], value=flag(False, raw=True))

    assert "may be in training mode" in found(tmp_path, [other, computed, dropout()])


@pytest.mark.parametrize(("mode", "mixes"), [({"training_mode": 1}, True), ({}, False)])
def test_a_batch_normalisation_mixes_rows_in_training_mode(tmp_path, mode, mixes):
    """Without the attribute it has a fixed mean."""
    node = helper.make_node("BatchNormalization", ["x", "a", "b", "c", "d"], ["y"], **mode)

    said = "operator BatchNormalization is in training mode and takes its mean from the batch"
    assert found(tmp_path, [node]) == (said if mixes else "")


def test_dynamic_quantisation_mixes_rows_if_data_reaches_it(tmp_path):
    """Not if it quantises a constant, or if no output depends on it."""
    quantise = helper.make_node("DynamicQuantizeLinear", ["{}"], ["q", "s", "z"])
    dequantise = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])
    of_data, of_constant = onnx.NodeProto(), onnx.NodeProto()
    of_data.CopyFrom(quantise)
    of_data.input[0] = "x"
    of_constant.CopyFrom(quantise)
    of_constant.input[0] = "weights"
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [1], [1.0])
    unused = [of_data, helper.make_node("Identity", ["x"], ["y"])]

    said = "operator DynamicQuantizeLinear takes its scale from all rows of a batch"
    assert found(tmp_path, [of_data, dequantise]) == said
    assert found(tmp_path, [of_constant, dequantise], [weights]) == ""
    assert found(tmp_path, unused) == ""


def test_data_reaches_an_operator_through_others(tmp_path):
    """What is computed from an input is data as well."""
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("DynamicQuantizeLinear", ["positive"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]

    assert "takes its scale from all rows" in found(tmp_path, nodes)


def test_random_numbers_need_no_input(tmp_path):
    """They differ each time."""
    random = helper.make_node("RandomNormal", [], ["y"], shape=[2, 3])

    assert found(tmp_path, [random]) == "operator RandomNormal draws random numbers"


def test_only_the_size_of_a_tensor_is_no_data(tmp_path):
    """What is quantised depends on no row's values."""
    nodes = [
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Cast", ["size"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("DynamicQuantizeLinear", ["number"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]

    assert found(tmp_path, nodes) == ""


def test_branches_and_functions_are_looked_into(tmp_path):
    """An operator in a branch, or in an operator of the model's own, counts."""
    random = helper.make_node("RandomNormalLike", ["x"], ["inner"])
    branch = helper.make_graph(
        [random], "branch", [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, FLOATS)]
    )
    choice = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    own = helper.make_function(
        "own",
        "Jitter",
        ["x"],
        ["inner"],
        [random],
        [helper.make_opsetid("", 21)],
    )
    call = helper.make_node("Jitter", ["x"], ["y"], domain="own")

    assert "draws random numbers" in found(tmp_path, [choice])
    assert "draws random numbers" in found(tmp_path, [call], functions=[own])
    assert found(tmp_path, [call]) == ""
