import onnx
import pytest
from sample_models import odd_models, onnx_cases, tiny_models

from serving.engine import onnx_graph
from serving.errors import DataLoss


def test_a_file_is_read_as_the_onnx_package_reads_it(tmp_path):
    """Nodes, weights, inputs and attributes equal those that the onnx package reads."""
    path = tiny_models.convolution(tmp_path) / "model.onnx"
    ours, theirs = onnx_graph.read(path).graph, onnx.load(path).graph

    assert [node.op_type for node in ours.node] == [node.op_type for node in theirs.node]
    assert [list(node.input) for node in ours.node] == [list(node.input) for node in theirs.node]
    assert {t.name: (list(t.dims), t.raw_data) for t in ours.initializer} == {
        t.name: (list(t.dims), t.raw_data) for t in theirs.initializer
    }
    assert ours.node[0].attribute[0].i == onnx.TensorProto.FLOAT
    assert [dim.dim_value for dim in ours.input[0].type.tensor_type.shape.dim] == [0, 32, 32, 3]


def test_weights_in_another_file_are_left_there(tmp_path):
    """A weight in another file keeps its location; only the graph's own file is read."""
    path = odd_models.external(tmp_path) / "model.onnx"
    (weights,) = onnx_graph.read(path).graph.initializer

    assert weights.data_location == weights.EXTERNAL
    assert {entry.key: entry.value for entry in weights.external_data}["location"] == "weights.bin"
    assert not weights.raw_data


def test_tensors_without_a_shape_are_of_unknown_rank(tmp_path):
    """A tensor without a shape has an unknown rank; a scalar has a shape without dimensions."""
    unknown = onnx_graph.read(odd_models.any_rank(tmp_path) / "model.onnx")
    scalar = onnx_graph.read(odd_models.scalar(tmp_path) / "model.onnx")

    assert onnx_graph.unknown_ranks(unknown) == {"x", "y"}
    assert onnx_graph.unknown_ranks(scalar) == set()


def test_a_name_that_is_no_text_is_no_obstacle(tmp_path):
    """A graph name that is not UTF-8 can be read: proto2 strings may hold any bytes."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x3a\x04\x12\x02\xff\xfe")

    assert onnx_graph.unknown_ranks(onnx_graph.read(path)) == set()


def test_a_file_that_is_no_model_is_refused(tmp_path):
    """A file that is not ONNX is refused; the message names the file and the way out."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x3a\xff")

    with pytest.raises(DataLoss, match=r"model\.onnx is no ONNX model .*; copy or export"):
        onnx_graph.read(path)


def test_every_node_case_of_onnx_is_read(tmp_path):
    """All node cases of the onnx package can be read, with control flow and odd types."""
    cases, _ = onnx_cases.node_cases(40)
    path = tmp_path / "model.onnx"
    for case in cases.values():
        path.write_bytes(case.model)
        ours, theirs = onnx_graph.read(path), onnx.load(path)
        assert [node.op_type for node in ours.graph.node] == [
            node.op_type for node in theirs.graph.node
        ]


@pytest.mark.parametrize("searched_bytes", [1, 7, 4 << 20])
def test_operators_are_found_in_the_bytes(tmp_path, monkeypatch, searched_bytes):
    """Operators are found by their whole name, also in a branch; tensor names are not matched."""
    monkeypatch.setattr(onnx_graph, "_SEARCHED_BYTES", searched_bytes)
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("LSTM", ["a"], ["b"])], "GRU", [], [], doc_string="GRU"
    )
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("If", ["Neg"], ["GRU"], then_branch=branch, else_branch=branch)],
        "Relu",
        [],
        [],
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())

    found = onnx_graph.find_operators(path, ["GRU", "LSTM", "Neg", "I", "If"])

    assert found == {"LSTM", "If"}
