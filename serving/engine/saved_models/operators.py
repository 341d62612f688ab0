"""Finds operators of a SavedModel's graph that mix rows, or that may end the process.

The operators that end the process were found by feeding about 130 operators tensors of every rank
up to nine, and tensors without elements, each in its own process. Convolutions and 3D max pooling
check the rank of their input by an assertion in TensorFlow's code, which ends the process and not
just the run.
"""

from collections.abc import Iterable, Iterator
from typing import Any

# Operators that end the process on a tensor of an unexpected rank.
ENDED_BY_RANK = frozenset(
    {
        "Conv",
        "Conv2D",
        "Conv3D",
        "DepthwiseConv2dNative",
        "MaxPool3D",
    }
)
# Operators that parse tf.Examples.
PARSING = frozenset({"ParseExample", "ParseExampleV2"})
_TRAINED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
# Prefixes of the names of operators whose answer for a row depends on the other rows, or changes
# from run to run: random operators, operators with state, and operators that compute a range from
# the whole tensor.
_MIXING = (
    "Assign",
    "Bernoulli",
    "EagerPyFunc",
    "LookupTableInsert",
    "LookupTableRemove",
    "Multinomial",
    "ParameterizedTruncatedNormal",
    "PyFunc",
    "QuantizeDownAndShrinkRange",
    "Random",
    "Requantize",
    "ResourceApply",
    "ResourceScatter",
    "Scatter",
    "StatefulRandom",
    "StatefulStandardNormal",
    "StatefulTruncatedNormal",
    "StatefulUniform",
    "StatelessMultinomial",
    "StatelessParameterizedTruncatedNormal",
    "StatelessRandom",
    "StatelessTruncatedNormal",
    "TruncatedNormal",
)
# Operators with such a prefix that depend on their arguments only.
_HARMLESS = frozenset({"ScatterNd"})


def reachable(definition: Any, tensors: Iterable[str]) -> Iterator[Any]:  # noqa: ANN401  GraphDef
    """Yield the nodes that tensors are computed from, including nodes of called functions.

    Args:
        definition: A GraphDef.
        tensors: Tensor names, such as `StatefulPartitionedCall:0`.

    Yields:
        Each NodeDef once.
    """
    nodes = {node.name: node for node in definition.node}
    functions = {function.signature.name: function for function in definition.library.function}
    waiting, called = [_node_name(tensor) for tensor in tensors], set[str]()
    seen = set[str]()
    found = list[Any]()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        found.append(nodes[name])
        waiting += map(_node_name, nodes[name].input)
    while found:
        node = found.pop()
        yield node
        for name in _functions(node):
            if name not in called and name in functions:
                called.add(name)
                found += functions[name].node_def


def find_row_mixing(nodes: Iterable[Any]) -> str:
    """Find an operator that mixes rows by its definition.

    Args:
        nodes: NodeDefs.

    Returns:
        One sentence that names the operator; empty if there is no such operator.
    """
    for node in nodes:
        if node.op in _TRAINED and node.attr["is_training"].b:
            return f"{node.op} in training mode takes its mean from all rows"
        if node.op.startswith(_MIXING) and node.op not in _HARMLESS:
            return f"the graph has {node.op}, whose answer for a row depends on more than the row"
    return ""


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _functions(node: Any) -> Iterator[str]:  # noqa: ANN401  NodeDef
    for value in node.attr.values():
        kind = value.WhichOneof("value")
        if kind == "func":
            yield value.func.name
        elif kind == "list":
            yield from (function.name for function in value.list.func)
