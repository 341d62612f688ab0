"""A frozen TensorFlow graph that parts are cut out of."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from export.errors import ExportError
from serving.tensors.signature import Signature

_SHAPE_OPS = ("Shape", "Size")
_ANY_SIZE = 2


def freeze(function: Any, signature: Signature) -> "FrozenGraph":  # noqa: ANN401  untyped module
    """Make a signature one flat graph whose variables are constants.

    Args:
        function: The signature of a loaded SavedModel: keyword arguments in, a dict out.
        signature: Its inputs and outputs.
    """
    frozen = convert_variables_to_constants_v2(
        function, lower_control_flow=False, aggressive_inlining=True
    )
    outputs = [tensor.name for tensor in frozen.outputs]
    return FrozenGraph(
        frozen.graph.as_graph_def(),
        inputs={_alias(tensor.name, function, signature): tensor.name for tensor in frozen.inputs},
        outputs=dict(zip(sorted(function.structured_outputs), outputs, strict=True)),
    )


def _alias(tensor: str, function: Any, signature: Signature) -> str:  # noqa: ANN401  see freeze
    """The input that a placeholder stands for.

    TensorFlow 2 names placeholders for the input or for the argument of the function that was
    saved; TensorFlow 1's keep the names of the graph.
    """
    specs = function.structured_input_signature[1]
    name = tensor.partition(":")[0]
    arguments = {spec.name: alias for alias, spec in specs.items()}
    graph_names = {spec.graph_name: alias for alias, spec in signature.inputs.items()}
    alias = graph_names.get(tensor) or (name if name in specs else arguments.get(name))
    if alias is None:
        msg = f"placeholder {tensor} belongs to none of the inputs {', '.join(specs)}"
        raise ExportError(msg)
    return alias


class FrozenGraph:
    """A GraphDef without variables, and what of it is the interface.

    Attributes:
        definition: The GraphDef; changed in place.
        inputs: Placeholder by input alias.
        outputs: Tensor name by output alias.
        cuts: Placeholders that stand for tensors cut off, by name, with their dtypes.
    """

    def __init__(
        self,
        definition: Any,  # noqa: ANN401  of an untyped module
        *,
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
    ) -> None:
        """Take over a graph.

        Args:
            definition: GraphDef.
            inputs: Tensor name by input alias.
            outputs: Likewise for outputs.
        """
        self.definition = definition
        self.inputs = {alias: _node(name) for alias, name in inputs.items()}
        self.outputs = dict(outputs)
        self.cuts: dict[str, Any] = {}
        self._nodes = {node.name: node for node in definition.node}

    def reached(self, tensors: list[str], *, through_shapes: bool = True) -> set[str]:
        """Names of all nodes that tensors are computed from.

        Args:
            tensors: Names.
            through_shapes: Whether a shape counts as computed from its tensor.
        """
        found: set[str] = set()
        waiting = [_node(name) for name in tensors]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            node = self._nodes[name]
            if through_shapes or node.op not in _SHAPE_OPS:
                waiting += [_node(source) for source in node.input]
        return found

    def depends_on_input(self, tensor: str, *, through_shapes: bool = True) -> bool:
        """Whether a tensor is computed from an input, or from something cut off."""
        sources = {*self.inputs.values(), *self.cuts}
        return bool(self.reached([tensor], through_shapes=through_shapes) & sources)

    def users(self, name: str) -> Iterator[Any]:
        """The nodes that a node's first output goes to, through any Identity."""
        for node in self.direct_users(f"{name}:0"):
            if node.op == "Identity":
                yield from self.users(node.name)
            else:
                yield node

    def direct_users(self, tensor: str) -> list[Any]:
        """The nodes that take a tensor."""
        return [
            node
            for node in self.definition.node
            if any(tensor_name(source) == tensor for source in node.input)
        ]

    def cut(self, tensors: list[str], name: str, dtype: Any, shape: list[int | None]) -> None:  # noqa: ANN401
        """Put one placeholder in the place of tensors.

        Args:
            tensors: Names; whatever takes one of them takes the placeholder from now on.
            name: Name of the placeholder.
            dtype: Its tf.DType.
            shape: Its shape.
        """
        node = self.definition.node.add(name=name, op="Placeholder")
        node.attr["dtype"].type = dtype.as_datatype_enum
        node.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())
        self._nodes[name] = node
        self.cuts[name] = dtype
        for user in self.definition.node:
            for position, source in enumerate(user.input):
                if tensor_name(source) in tensors:
                    user.input[position] = name
        for alias, tensor in self.outputs.items():
            if tensor in tensors:
                self.outputs[alias] = f"{name}:0"

    def constant(self, tensor: str) -> Any:  # noqa: ANN401  an array
        """The value of a tensor that depends on no input.

        Raises:
            ExportError: it depends on one.
        """
        if self.depends_on_input(tensor):
            msg = f"{tensor} is computed from an input, expected a constant"
            raise ExportError(msg)
        return np.asarray(self._run(tensor_name(tensor), {}))

    def value_for_shapes(self, tensor: str, cuts: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """The value of a tensor that depends on nothing but the shapes of the inputs.

        Args:
            tensor: Its name.
            cuts: Values for some placeholders by name; all others are zeros or empty strings, with
                2 for each free size.
        """
        values = {}
        for node in self.definition.node:
            if node.op == "Placeholder":
                dtype = tf.dtypes.as_dtype(node.attr["dtype"].type)
                sizes = tf.TensorShape(node.attr["shape"].shape).as_list()
                shape = [_ANY_SIZE if size is None else size for size in sizes]
                zeros = np.full(shape, b"" if dtype == tf.string else 0)
                values[f"{node.name}:0"] = cuts.get(node.name, zeros)
        return self._run(tensor, values)

    def _run(self, tensor: str, values: Mapping[str, Any]) -> Any:  # noqa: ANN401  an array
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(self.definition, name="")
            with tf.compat.v1.Session(graph=graph) as session:
                return session.run(tensor, dict(values))


def tensor_name(source: str) -> str:
    """An input of a node as a tensor: `node` is `node:0`; a control input `^node` is none."""
    return source if ":" in source or source.startswith("^") else f"{source}:0"


def _node(source: str) -> str:
    return source.removeprefix("^").partition(":")[0]
