from types import SimpleNamespace

import pytest
from sample_models import odd_models, tiny_models

from serving.engine import graph_tensors, onnx_graph
from serving.engine.runtime import Runtime, RuntimeConfig
from serving.errors import DataLoss, Unsupported
from serving.tensors.signature import DataType, Signature, TensorSpec


def load(path):
    return Runtime(path / "model.onnx", RuntimeConfig(device="cpu"))


@pytest.mark.parametrize(
    ("build", "tensor", "found", "way_out"),
    [
        (
            odd_models.zipmap,
            'output "y"',
            "a sequence of maps (the ZipMap that skl2onnx and onnxmltools put behind a classifier)",
            'options={"zipmap": False}, in onnxmltools with zipmap=False',
        ),
        (
            odd_models.sequence,
            'output "y"',
            "a sequence: seq(tensor(float))",
            "put ConcatFromSequence behind such an output, SplitToSequence before such an input",
        ),
        (
            odd_models.optional,
            'input "x"',
            "optional: optional(tensor(float))",
            "(OptionalGetElement), or export the model without it",
        ),
        (
            odd_models.map_input,
            'input "x"',
            "a map: map(string,tensor(int64))",
            "give its keys and its values as two tensors, or leave the Map node out",
        ),
        (
            odd_models.float8,
            'output "y"',
            "tensor(float8e4m3fn)",
            "put a Cast before the output in the graph",
        ),
    ],
)
def test_unknown_tensor_types_are_refused(tmp_path, build, tensor, found, way_out):
    """The message says which tensor has which type, which types are expected, and the way out."""
    path = build(tmp_path)

    with pytest.raises(Unsupported) as caught:
        load(path)

    message = caught.value.message
    beginning = f"{tensor} of {path / 'model.onnx'} is {found}"
    assert message.startswith(beginning)
    assert ", expected a tensor of float, double, int32" in message
    assert message.endswith(way_out)


def test_an_unknown_rank_is_no_scalar(tmp_path):
    """A tensor of unknown rank has shape None, a scalar has shape ().

    ONNX Runtime reports the same shape for both, so the ONNX file is read.
    """
    unknown, scalar = load(odd_models.any_rank(tmp_path)), load(odd_models.scalar(tmp_path))

    assert (unknown.inputs["x"].shape, unknown.outputs["y"].shape) == (None, None)
    assert (scalar.inputs["x"].shape, scalar.outputs["y"].shape) == ((), ())


def test_a_file_is_parsed_only_if_that_can_tell_something(tmp_path, monkeypatch):
    """Parsing copies the weights, so a graph whose shapes are all known is not parsed."""

    def refuse(path):
        raise AssertionError(path)

    path = tiny_models.identity(tmp_path)
    monkeypatch.setattr(onnx_graph, "read", refuse)

    assert load(path).inputs["x"].shape == (-1, 3)


@pytest.mark.parametrize(
    ("kind", "shape", "fits"),
    [
        ("input", (-1, 3), True),
        ("input", (-1, -1), True),
        ("input", (4, 3), True),
        ("input", None, True),
        ("input", (-1, 4), False),
        ("input", (-1,), False),
        ("input", (), False),
        ("input", (-1, 3, 1), False),
        ("output", (-1, 3), True),
        ("output", (-1, 4), True),
        ("output", None, True),
        ("output", (-1,), False),
        ("output", (), False),
        ("output", (-1, 3, 1), False),
    ],
)
def test_a_signature_has_the_ranks_of_its_graph(tmp_path, kind, shape, fits):
    """A signature may know more or less of a shape than its graph; another rank is refused.

    Another size of an input's dimension is refused, too.
    """
    graph = load(tiny_models.identity(tmp_path))  # (batch, 3) to (batch, 3)
    shapes = {"input": (-1, 3), "output": (-1, 3)} | {kind: shape}
    specs = {
        name: {
            tensor: TensorSpec(
                dtype=DataType.DT_FLOAT, shape=shapes[name], tensor=tensor, graph_name=tensor
            )
        }
        for name, tensor in (("input", "x"), ("output", "y"))
    }
    signature = Signature(
        method_name="", file="model.onnx", inputs=specs["input"], outputs=specs["output"]
    )

    if fits:
        graph_tensors.check_signature("s", signature, graph.inputs, graph.outputs)
    else:
        with pytest.raises(DataLoss, match=f'{kind} ".*" of signature s is DT_FLOAT'):
            graph_tensors.check_signature("s", signature, graph.inputs, graph.outputs)


def test_the_signatures_rank_is_used_where_another_would_end_the_process(tmp_path):
    """Where the graph declares no rank, `needs_ranks` takes the signature's rank with free sizes.

    Graphs with operators that end the process on another rank have `needs_ranks`.
    """
    graph = load(odd_models.any_rank(tmp_path))
    spec = TensorSpec(dtype=DataType.DT_FLOAT, shape=(-1, 4), tensor="x", graph_name="x")
    signature = Signature(method_name="", file="model.onnx", inputs={"a": spec}, outputs={})

    free = graph_tensors.declared(signature, graph.inputs)
    held = graph_tensors.declared(signature, graph.inputs, needs_ranks=True)

    assert free["a"].shape is None
    assert held["a"].shape == (-1, -1)
    assert not graph.needs_ranks
    assert load(odd_models.recurrent(tmp_path)).needs_ranks


@pytest.mark.parametrize(
    ("kind", "place"), [("input", "behind the input"), ("output", "before the output")]
)
def test_the_way_out_names_the_right_place_for_a_cast(tmp_path, kind, place):
    """Values of another type are turned where they come in or go out."""
    node = SimpleNamespace(name="x", type="tensor(float8e4m3fn)", shape=[1])

    with pytest.raises(Unsupported, match=f"put a Cast {place} in the graph"):
        graph_tensors.specs(kind, [node], tmp_path / "model.onnx")
