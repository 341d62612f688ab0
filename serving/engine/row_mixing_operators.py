"""Operators that mix the rows of a batch by their definition, looked up in an ONNX graph.

A dynamic quantisation takes its scale from the whole tensor, a batch normalisation in training mode
its mean; random operators answer a row differently each time. They count if they stand on a path
from an input's data to an output. Which rows the other operators mix is for the probe to find out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from serving.engine import onnx_graph
from serving.protos.onnx_graph_pb2 import FunctionProto, GraphProto, ModelProto, NodeProto

_RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
# They read how large a tensor is, not what it holds.
_SIZES = frozenset({"Shape", "Size"})
_TRAINING_INPUT = 2  # Dropout's third input says whether it drops

_Functions = Mapping[tuple[str, str], FunctionProto]


def find_row_mixing(onnx_file: Path) -> str:
    """What mixes the rows of a graph.

    Args:
        onnx_file: The graph.

    Returns:
        One sentence that names the operator; empty if there is none.
    """
    model = onnx_graph.read(onnx_file)
    functions = {(function.domain, function.name): function for function in model.functions}
    graph = model.graph
    inputs = {value.name for value in graph.input} - {value.name for value in graph.initializer}
    wanted = {value.name for value in graph.output}
    return next(_mixing(model, graph.node, inputs, wanted, functions), "")


def _mixing(
    model: ModelProto,
    nodes: Sequence[NodeProto],
    data: set[str],
    wanted: set[str],
    functions: _Functions,
) -> Iterator[str]:
    """The sentences about nodes on a path from data to what is wanted.

    Args:
        model: For the values of its constants.
        nodes: In topological order, as ONNX has them.
        data: Tensors that hold data of the inputs; those that the nodes make are added.
        wanted: Tensors that outputs are made of; those that these are made of are added.
        functions: The model's own operators.
    """
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(_reads(node))
    for node in nodes:
        holds_data = bool(data.intersection(_reads(node)))
        if not wanted.intersection(node.output):
            continue
        if holds_data or node.op_type in _RANDOM:
            if reason := _reason(model, node):
                label = f' "{node.name}"' if node.name else ""
                yield f"operator {node.op_type}{label} {reason}"
            for inner in _inner_nodes(node, functions):
                # Inside, every tensor may hold data and reach the output.
                everything = {name for each in inner for name in (*_reads(each), *each.output)}
                yield from _mixing(model, inner, everything, set(everything), functions)
        if holds_data and node.op_type not in _SIZES:
            data.update(node.output)


def _reads(node: NodeProto) -> Iterator[str]:
    """The tensors that a node reads, also those that its inner graphs take from outside."""
    yield from (name for name in node.input if name)
    for graph in _graphs(node):
        for inner in graph.node:
            yield from _reads(inner)
        yield from (value.name for value in graph.output)


def _graphs(node: NodeProto) -> Iterable[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _inner_nodes(node: NodeProto, functions: _Functions) -> Iterator[Sequence[NodeProto]]:
    """The nodes of a branch's or loop's graphs, and of the function that a node calls."""
    for graph in _graphs(node):
        yield graph.node
    function = functions.get((node.domain, node.op_type))
    if function is not None:
        yield function.node


def _reason(model: ModelProto, node: NodeProto) -> str:
    """How an operator mixes rows; empty if it does not."""
    if node.op_type.startswith("DynamicQuantize"):
        return "takes its scale from all rows of a batch"
    if node.op_type in _RANDOM:
        return "draws random numbers"
    if node.op_type == "BatchNormalization":
        modes = {attribute.name: attribute.i for attribute in node.attribute}
        return "is in training mode and takes its mean from the batch" * bool(
            modes.get("training_mode")
        )
    if node.op_type == "Dropout" and len(node.input) > _TRAINING_INPUT:
        mode = node.input[_TRAINING_INPUT]
        return "" if not mode or _is_false(model, mode) else "may be in training mode"
    return ""


def _is_false(model: ModelProto, name: str) -> bool:
    """Whether a tensor is a constant false, as an initializer or as a Constant node's value."""
    for initializer in model.graph.initializer:
        if initializer.name == name:
            return not any(initializer.raw_data) and not any(initializer.int32_data)
    for node in model.graph.node:
        if name in node.output and node.op_type == "Constant":
            return all(
                not any(attribute.t.raw_data) and not any(attribute.t.int32_data)
                for attribute in node.attribute
            )
    return False
