"""Canonical names in an ONNX graph, so that the same model always gives the same bytes.

tf2onnx numbers its nodes with a counter of the whole process (`Transpose__89`). TensorFlow prefixes
names with the functions that they were inlined from (`StatefulPartitionedCall/...`). A canonical
name keeps the layer and the operation, `simcnn/conv2d/convolution`, and gets a number if the name
is taken.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence

import onnx

_COUNTER = re.compile(r"__\d+")
_WRAPPER = re.compile(r"^(Func/)?((Stateful)?PartitionedCall(_\d+)?/)+")


def rename(graph: onnx.GraphProto) -> None:
    """Rename nodes and inner tensors and order initializers by first use, in place.

    The graph's inputs and outputs keep their names, because clients use them.
    """
    namer = _Namer(info.name for info in (*graph.input, *graph.output))
    namer.visit(graph)
    replace_names(graph, namer.tensors)
    order = {name: position for position, name in enumerate(namer.tensors.values())}
    for number, inner in enumerate(_graphs(graph)):
        inner.doc_string = ""
        if number:
            inner.name = f"subgraph_{number}"
            _forget_shapes(inner)
        by_use = sorted(inner.initializer, key=lambda tensor: order[tensor.name])
        # protobuf cannot reorder messages in a repeated field, only replace them.
        copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in by_use]
        del inner.initializer[:]
        inner.initializer.extend(copies)


def replace_names(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename tensors everywhere in a graph and its subgraphs, in place.

    Args:
        graph: Any graph.
        names: New names by old name. If an inner tensor has one of the new names, it is renamed.
    """
    old_names = set(_tensor_names(graph))
    mapping = dict(names)
    for name in set(names.values()) & (old_names - names.keys()):
        free = f"{name}_inner"
        while free in old_names or free in mapping.values():
            free += "_"
        mapping[name] = free

    def replace(name: str) -> str:
        return mapping.get(name, name)

    for inner in _graphs(graph):
        for infos in (inner.input, inner.output, inner.value_info, inner.initializer):
            for info in infos:
                info.name = replace(info.name)
        for node in inner.node:
            node.doc_string = ""
            _replace_in(node.input, replace)
            _replace_in(node.output, replace)


def number(graph: onnx.GraphProto) -> None:
    """Replace the names of nodes and inner tensors by numbers, in place.

    Two graphs that compute the same in the same order are then equal, whatever their inner names.
    """
    interface = {info.name for info in (*graph.input, *graph.output)}
    inner = dict.fromkeys(name for name in _tensor_names(graph) if name and name not in interface)
    replace_names(graph, {name: f"#{position}" for position, name in enumerate(inner)})
    for node in nodes(graph):
        node.name = ""


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes of a graph and of its subgraphs."""
    for inner in _graphs(graph):
        yield from inner.node


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in _subgraphs(attribute):
                yield from _graphs(inner)


def _subgraphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _forget_shapes(subgraph: onnx.GraphProto) -> None:
    """Drop the shapes in a subgraph: names of their free dimensions have counters (`unk__706`)."""
    del subgraph.value_info[:]
    for info in (*subgraph.input, *subgraph.output):
        info.type.tensor_type.ClearField("shape")


def _tensor_names(graph: onnx.GraphProto) -> Iterator[str]:
    for inner in _graphs(graph):
        for infos in (inner.input, inner.output, inner.initializer):
            for info in infos:
                yield info.name
        for node in inner.node:
            yield from node.input
            yield from node.output


def _replace_in(names: MutableSequence[str], replace: Callable[[str], str]) -> None:
    for position, name in enumerate(names):
        names[position] = replace(name)


class _Namer:
    """Walks a graph in order and chooses the new names.

    Attributes:
        tensors: New names by old name.
    """

    def __init__(self, interface: Iterable[str]) -> None:
        self.tensors = {name: name for name in interface}
        self._taken = dict.fromkeys(self.tensors, 0)

    def visit(self, graph: onnx.GraphProto, *, is_subgraph: bool = False) -> None:
        """Choose the names in a graph, and in the subgraphs of If and Loop in node order."""
        for info in graph.input:
            self._name_tensor(info.name, "input" if is_subgraph else info.name)
        for node in graph.node:
            for name in node.input:
                # A name without an entry is an initializer: no node before this one makes it.
                self._name_tensor(name, "constant" if is_subgraph else _clean(name))
            # Names in subgraphs hold numbers of TensorFlow's functions, so only the type is used.
            base = node.op_type if is_subgraph else _clean(node.name, node.op_type)
            node.name = self._unique(base)
            for position, name in enumerate(node.output):
                self._name_tensor(name, f"{node.name}:{position}")
            for attribute in node.attribute:
                for inner in _subgraphs(attribute):
                    self.visit(inner, is_subgraph=True)
        # Tensors that no node of this graph reads: constants that are outputs, unused constants.
        for name in [*(info.name for info in graph.output), *(x.name for x in graph.initializer)]:
            self._name_tensor(name, _clean(name))

    def _name_tensor(self, name: str, wanted: str) -> None:
        if name and name not in self.tensors:  # "" marks an omitted optional input
            self.tensors[name] = self._unique(wanted)

    def _unique(self, name: str) -> str:
        """The name itself if it is free, otherwise the name with _1, _2, ... appended."""
        candidate = name
        while candidate in self._taken:
            self._taken[name] += 1
            candidate = f"{name}_{self._taken[name]}"
        self._taken[candidate] = 0
        return candidate


def _clean(name: str, op_type: str = "tensor") -> str:
    """A name without counters and function prefixes; a node with a counter gets its type added."""
    tensor, colon, number = name.rpartition(":")
    base = _WRAPPER.sub("", tensor if colon and number.isdigit() else name)
    plain = _COUNTER.sub("", base)
    if plain != base and op_type not in ("tensor", plain.rpartition("/")[2]):
        plain = f"{plain}/{op_type}"
    return plain or op_type
