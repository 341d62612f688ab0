"""Finds the operators of an ONNX graph that mix the rows of a batch by their definition.

A dynamic quantisation computes its scale from the whole tensor, a batch normalisation in training
mode computes its mean from the whole batch, and random operators give a row a different answer each
time. An operator counts if it lies on a path from an input's data to an output; a random operator
needs no input. The probe of `row_independence` tests whether other operators mix rows.
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
# Operators that read the shape of a tensor, not its values.
_SIZES = frozenset({"Shape", "Size"})
_TRAINING_INPUT = 2  # position of Dropout's input `training_mode`

_Functions = Mapping[tuple[str, str], FunctionProto]


def find_row_mixing(onnx_file: Path) -> str:
    """Find an operator that mixes the rows of a graph by its definition.

    Args:
        onnx_file: The graph.

    Returns:
        One sentence that names the operator; empty if there is no such operator.

    Raises:
        DataLoss, OSError: see `onnx_graph.read`.
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
    """Yield a sentence for each node that mixes rows on a path from input data to an output.

    Args:
        model: The model; its initializers and constants decide whether Dropout drops.
        nodes: Nodes in topological order, the order of ONNX files.
        data: Names of tensors that depend on the inputs; tensors computed from them are added.
        wanted: Names of tensors that the outputs depend on; the tensors that they are computed from
            are added.
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
                # Inside, any tensor may depend on the inputs, and any may reach an output.
                everything = {name for each in inner for name in (*_reads(each), *each.output)}
                yield from _mixing(model, inner, everything, set(everything), functions)
        if holds_data and node.op_type not in _SIZES:
            data.update(node.output)


def _reads(node: NodeProto) -> Iterator[str]:
    """Yield the tensors that a node reads, including those that its subgraphs read."""
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
    """Yield the nodes of a node's subgraphs (branch, loop body), and of the function it calls."""
    for graph in _graphs(node):
        yield graph.node
    function = functions.get((node.domain, node.op_type))
    if function is not None:
        yield function.node


def _reason(model: ModelProto, node: NodeProto) -> str:
    """Return how a node mixes rows, as a verb phrase; empty if it does not."""
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
    """Return whether a tensor is the constant false, from an initializer or a Constant node."""
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
