"""Look-up tables of an ONNX graph: the maker, the readers and the shape of each tensor."""

from collections.abc import Iterable
from typing import Any

import numpy.typing as npt
import onnx
from onnx import numpy_helper

from export.graphs import canonical_names


class Graph:
    """Look-up tables of a model's graph, made once; later changes of the graph do not update them.

    Attributes:
        nodes: The nodes in topological order.
        makers: The node that makes a tensor, by the tensor's name.
        readers: The nodes that read a tensor, by its name, including nodes in branches and loops.
        constants: Initializers by name.
        shapes: Shapes of the tensors whose shape can be inferred, by name; 0 for a free size.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self.nodes = list(model.graph.node)
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {name: [] for name in self.makers}
        for node in canonical_names.nodes(model.graph):
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self.shapes = {
            info.name: tuple(size.dim_value for size in info.type.tensor_type.shape.dim)
            for info in (*inferred.input, *inferred.value_info, *inferred.output)
        }

    def array(self, name: str) -> npt.NDArray[Any]:
        """The values of a constant."""
        return numpy_helper.to_array(self.constants[name])

    def set_array(self, name: str, array: npt.NDArray[Any]) -> None:
        """Replace the values of a constant; the new values may have another shape."""
        self.constants[name].CopyFrom(numpy_helper.from_array(array, name))

    def only_reader(self, name: str, op_type: str) -> onnx.NodeProto | None:
        """The only reader of a tensor, if it has this type and the tensor is no graph output."""
        readers, is_output = self.readers[name], name in {info.name for info in self._graph.output}
        found = [node.op_type for node in readers] == [op_type] and not is_output
        return readers[0] if found else None

    def replace_nodes(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Replace the nodes of the graph, and drop constants that no node reads.

        The look-up tables are out of date afterwards.
        """
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self._graph.node[:]
        self._graph.node.extend(copies)
        read = {name for node in canonical_names.nodes(self._graph) for name in node.input}
        read |= {info.name for info in self._graph.output}
        for name in self.constants.keys() - read:
            self._graph.initializer.remove(self.constants[name])


def settings(node: onnx.NodeProto) -> dict[str, Any]:
    """The values of a node's attributes by name."""
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:  # noqa: ANN401  any value
    """Set an attribute, whether or not the node has it already."""
    for attribute in list(node.attribute):
        if attribute.name == name:
            node.attribute.remove(attribute)
    node.attribute.append(onnx.helper.make_attribute(name, value))
