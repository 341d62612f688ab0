import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from export.graphs import canonical_names


def info(name, elem_type=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, elem_type, [None])


def constant(name, value):
    return onnx.numpy_helper.from_array(np.array([value], np.float32), name)


def graph_with_branch(number):
    """Return the graph of abs(x) + 1 if flag else abs(x) - 2, with names as tf2onnx gives them."""
    branches = [
        helper.make_graph(
            [
                helper.make_node(
                    kind, ["abs__1:0", name], [f"r__{number}"], name=f"f_{number}/{kind}"
                )
            ],
            f"branch_{number}",
            [],
            [info(f"r__{number}")],
            [constant(name, value)],
        )
        for kind, name, value in (("Add", "c__5", 1), ("Sub", "c__6", 2))
    ]
    nodes = [
        helper.make_node("Abs", ["x"], ["abs__1:0"], name=f"StatefulPartitionedCall/abs__{number}"),
        helper.make_node(
            "If",
            ["flag"],
            ["y"],
            name=f"If__{number}",
            then_branch=branches[0],
            else_branch=branches[1],
        ),
    ]
    return helper.make_graph(
        nodes, "main", [info("x"), info("flag", TensorProto.BOOL)], [info("y")]
    )


def run(graph, flag):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    inputs = {"x": np.array([-3], np.float32), "flag": np.array([flag])}
    return session.run(["y"], inputs)[0].tolist()


def test_counters_vanish():
    """Graphs that differ only in tf2onnx's counters become equal, including subgraphs."""
    graphs = [graph_with_branch(number) for number in (17, 99)]

    for graph in graphs:
        canonical_names.rename(graph)

    assert graphs[0] == graphs[1]
    names = [node.name for node in canonical_names.nodes(graphs[0])]
    assert sorted(names) == ["Add", "If", "Sub", "abs/Abs"]


def test_renamed_graph_computes_the_same():
    """Renaming changes no result, even if a branch reads a tensor of the outer graph."""
    graph = graph_with_branch(17)

    canonical_names.rename(graph)

    assert run(graph, flag=True) == [4]
    assert run(graph, flag=False) == [1]


def test_interface_keeps_its_names():
    """Inputs and outputs of the graph are never renamed."""
    graph = graph_with_branch(17)

    canonical_names.rename(graph)

    assert [tensor.name for tensor in (*graph.input, *graph.output)] == ["x", "flag", "y"]


def test_initializers_are_ordered_by_use():
    """Initializers are sorted by first use, so the library's order of weights has no effect."""
    nodes = [
        helper.make_node("Add", ["x", "b"], ["t"], name="first"),
        helper.make_node("Mul", ["t", "a"], ["y"], name="second"),
    ]
    graph = helper.make_graph(
        nodes, "main", [info("x")], [info("y")], [constant("a", 2), constant("b", 1)]
    )

    canonical_names.rename(graph)

    assert [tensor.name for tensor in graph.initializer] == ["b", "a"]


def test_inner_tensor_makes_room_for_a_new_name():
    """If an output is given an inner tensor's name, the inner tensor is renamed."""
    nodes = [
        helper.make_node("Neg", ["x"], ["classes"]),
        helper.make_node("Abs", ["classes"], ["out"]),
    ]
    graph = helper.make_graph(nodes, "main", [info("x")], [info("out")])

    canonical_names.replace_names(graph, {"out": "classes"})

    assert graph.output[0].name == "classes"
    assert list(graph.node[0].output) == ["classes_inner"]
    assert list(graph.node[1].input) == ["classes_inner"]
    assert list(graph.node[1].output) == ["classes"]
