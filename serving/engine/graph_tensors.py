"""The tensors that a graph takes and gives, as ONNX Runtime and the file together declare them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from serving.engine import onnx_graph
from serving.errors import Unsupported
from serving.tensors.tensor_spec import ONNX_ELEMENT_TYPES, DataType, TensorSpec

Kind = Literal["input", "output"]

# What a type that is no tensor is called, by the beginning of ONNX Runtime's name for it, and how
# to turn it into a tensor.
_NO_TENSORS = (
    (
        "seq(map(",
        "a sequence of maps (the ZipMap that skl2onnx and onnxmltools put behind a classifier)",
        'convert the model again with options={"zipmap": False}, in onnxmltools with zipmap=False',
    ),
    (
        "seq(",
        "a sequence",
        "put ConcatFromSequence behind such an output, SplitToSequence before such an input",
    ),
    ("map(", "a map", "give its keys and its values as two tensors, or leave the Map node out"),
    (
        "optional(",
        "optional",
        "take out the optional in the graph (OptionalGetElement), or export the model without it",
    ),
    ("sparse_tensor(", "a sparse tensor", "export the model with a dense one"),
)


def specs(kind: Kind, nodes: Iterable[Any], onnx_file: Path) -> dict[str, TensorSpec]:
    """The specs of a graph's inputs or outputs by tensor name.

    ONNX Runtime reports the same empty shape for a scalar and for a tensor of unknown rank. The
    file is parsed to tell them apart, and only where one of them occurs.

    Args:
        kind: Which of both, for messages.
        nodes: What a session's `get_inputs` or `get_outputs` gives.
        onnx_file: The file that the session was made from.

    Raises:
        Unsupported: one is no tensor, or of an element type that no protocol here carries.
        DataLoss, OSError: see `onnx_graph.read`.
    """
    nodes = list(nodes)
    data_types = {node.name: _data_type(kind, node, onnx_file) for node in nodes}
    unknown: frozenset[str] = frozenset()
    if any(not node.shape for node in nodes):
        unknown = onnx_graph.unknown_ranks(onnx_graph.read(onnx_file))
    return {
        node.name: TensorSpec(
            dtype=data_types[node.name],
            shape=None if not node.shape and node.name in unknown else _shape(node),
            tensor=node.name,
            graph_name=node.name,
        )
        for node in nodes
    }


def _shape(node: Any) -> tuple[int, ...]:  # noqa: ANN401 - onnxruntime.NodeArg has no types
    # A symbolic dimension is a name, an unnamed one is None: any size goes.
    return tuple(size if isinstance(size, int) else -1 for size in node.shape)


def _data_type(kind: Kind, node: Any, onnx_file: Path) -> DataType:  # noqa: ANN401 - see `_shape`
    data_type = DataType.from_onnx(node.type)
    if data_type is not None:
        return data_type
    known = ", ".join(ONNX_ELEMENT_TYPES)
    for beginning, what, way_out in _NO_TENSORS:
        if node.type.startswith(beginning):
            msg = (
                f'{kind} "{node.name}" of {onnx_file} is {what}: {node.type}, expected a tensor of '
                f"{known}; {way_out}"
            )
            raise Unsupported(msg)
    where = "behind the input" if kind == "input" else "before the output"
    msg = (
        f'{kind} "{node.name}" of {onnx_file} is {node.type}, expected a tensor of {known}; put a '
        f"Cast {where} in the graph"
    )
    raise Unsupported(msg)
