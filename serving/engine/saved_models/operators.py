"""The operators of a SavedModel's graph: those that mix rows, those that may end the process.

Which ones end it was found by feeding some 130 operators tensors of every rank up to nine, and ones
without elements, each in a process of its own: convolutions, and the pooling of volumes, check
their input's rank by an assertion in TensorFlow's code, which ends the process and not the run.
"""

from collections.abc import Iterable, Iterator
from typing import Any

# End the process on a tensor of another rank than they expect.
ENDED_BY_RANK = frozenset(
    {
        "Conv",
        "Conv2D",
        "Conv3D",
        "DepthwiseConv2dNative",
        "MaxPool3D",
    }
)
# They read tf.Examples.
PARSING = frozenset({"ParseExample", "ParseExampleV2"})
_TRAINED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
# Beginnings of the names of operators that answer a row differently in other company, or each time:
# random ones, those with a state, those that take a range from the whole tensor.
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
# It computes from its arguments alone, whatever its name begins with.
_HARMLESS = frozenset({"ScatterNd"})


def reachable(definition: Any, tensors: Iterable[str]) -> Iterator[Any]:  # noqa: ANN401  GraphDef
    """The nodes that tensors are computed from, those in the functions that they call included.

    Args:
        definition: A GraphDef.
        tensors: Their names, such as `StatefulPartitionedCall:0`.

    Yields:
        NodeDefs, each once.
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
    """What mixes rows by its definition.

    Args:
        nodes: NodeDefs.

    Returns:
        One sentence that names the operator; empty if there is none.
    """
    for node in nodes:
        if node.op in _TRAINED and node.attr["is_training"].b:
            return f"{node.op} in training mode takes its mean from all rows"
        if node.op.startswith(_MIXING) and node.op not in _HARMLESS:
            return f"the graph has {node.op}, whose answers are not of its row alone"
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
