"""A frozen TensorFlow graph: constants for variables, and placeholders for the tensors cut out."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
from tensorflow.python.eager import wrap_function
from tensorflow.python.framework import convert_to_constants
from tensorflow.python.grappler import tf_optimizer

from export.errors import ExportError
from export.failures import WITH_TENSORFLOW, no_counterpart
from export.sources.serving_session import ServingSession
from serving.tensors.signature import DataType, Signature

_ASSIGNS = re.compile(
    r"Assign|Resource(Scatter|StridedSliceAssign|(Sparse)?Apply)|Scatter(Add|Update)$"
)
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_SHAPE_OPS = ("Shape", "Size")
# Branching operations that TensorFlow's disable_lower_using_switch_merge does not handle.
_CASES = ("Case", "StatelessCase")
# Marks functions with `jit_compile=True`, such as Keras' grouped convolutions; not inlined with it.
_COMPILED = "_XlaMustCompile"
_ANY_SIZE = 2
_INPUT, _OUTPUT = "input", "output"
_GRAPHS = itertools.count()
Shape = tuple[int, ...] | None


def freeze(session: ServingSession, signature: Signature) -> "FrozenGraph":
    """Make one flat graph of a signature, with constants for variables and placeholders for inputs.

    Args:
        session: The SavedModel.
        signature: Inputs and outputs with their names in the SavedModel's graph. An input may be
            any tensor, not only a placeholder: TensorFlow 1 models are often fed after the parsing.

    Raises:
        ExportError: an output depends on a variable that a call changes, or the graph has a Case
            operation.
    """
    inputs = {alias: spec.graph_name for alias, spec in signature.inputs.items()}
    outputs = {alias: spec.graph_name for alias, spec in signature.outputs.items()}
    definition = session.graph([*inputs.values(), *outputs.values()])
    _rename_functions(definition)
    graph = FrozenGraph(definition, inputs={}, outputs=outputs)
    for number, (alias, tensor) in enumerate(inputs.items()):
        dtype = signature.inputs[alias].dtype
        # Parsing takes a vector of examples, even if the placeholder declares another shape.
        shape = (-1,) if dtype is DataType.DT_STRING else session.shape(tensor)
        name = graph.free_name(f"{_INPUT}_{number:03}")
        graph.cut([tensor], name, tf.dtypes.as_dtype(dtype.value), shape)
        graph.inputs[alias] = name
    for number, (alias, tensor) in enumerate(graph.outputs.items()):
        # TensorFlow does not inline a function call that is an output itself.
        node = definition.node.add(name=graph.free_name(f"{_OUTPUT}_{number:03}"), op="Identity")
        node.input.append(tensor)
        node.attr["T"].type = session.dtype(outputs[alias])
        graph.outputs[alias] = f"{node.name}:0"
    kept = [*graph.inputs.values(), *map(_node, graph.outputs.values())]
    # Inline first: TensorFlow cannot replace a variable by a constant inside a nested function.
    inlined = _inlined(definition, kept)
    if cases := {node.op for node in _all_nodes(inlined) if node.op in _CASES}:
        # tf2onnx would fail on the operation's list of branches, with a message that names nothing.
        raise no_counterpart(cases)
    _drop_assignments(inlined, kept)
    frozen = session.with_constants(inlined, kept)
    for node in frozen.node:
        node.attr.pop("_output_shapes", None)  # inferred again for each declared input shape
    return FrozenGraph(frozen, inputs=graph.inputs, outputs=graph.outputs)


def _inlined(definition: Any, kept: Sequence[str]) -> Any:  # noqa: ANN401  GraphDef
    """The same graph with its functions inlined, except those of branches and loops."""
    meta_graph = meta_graph_pb2.MetaGraphDef()
    meta_graph.graph_def.CopyFrom(convert_to_constants.disable_lower_using_switch_merge(definition))
    for function in meta_graph.graph_def.library.function:
        function.attr.pop("api_implements", None)  # marks a GPU variant; prevents inlining
        function.attr.pop(_COMPILED, None)
    for node in _all_nodes(meta_graph.graph_def):
        node.attr.pop(_COMPILED, None)
        if node.op in _CASES:
            node.attr["_lower_using_switch_merge"].b = False
    meta_graph.collection_def["train_op"].node_list.value.extend(f"{name}:0" for name in kept)
    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.min_graph_nodes = -1  # optimize small graphs too
    options.optimizers.append("function")
    options.function_optimization = rewriter_config_pb2.RewriterConfig.AGGRESSIVE
    return tf_optimizer.OptimizeGraph(config, meta_graph)


def _drop_assignments(definition: Any, kept: Sequence[str]) -> None:  # noqa: ANN401  GraphDef
    """Remove assignments to variables that no output depends on, such as seeds.

    Args:
        definition: The graph; changed in place. If it has assignments, it loses all control inputs.
        kept: Names of the graph's inputs and outputs.

    Raises:
        ExportError: an output is computed from a variable that a call changes.
    """
    nodes = {node.name: node for node in definition.node}
    assigning = [node for node in definition.node if _ASSIGNS.match(node.op)]
    if not assigning:
        return
    for node in definition.node:
        data = [source for source in node.input if not source.startswith("^")]
        del node.input[:]
        node.input.extend(data)
    used = _sources(nodes, kept)
    changed = _sources(nodes, [node.input[0] for node in assigning])
    if changed & used & {name for name, node in nodes.items() if node.op in _VARIABLES} or any(
        node.name in used for node in assigning
    ):
        ops = ", ".join(sorted({node.op for node in assigning}))
        msg = (
            f"its outputs depend on variables that it changes when it is called ({ops}), expected "
            "outputs that depend on the inputs alone, because an ONNX graph keeps no state; for a "
            "Keras model with random layers, save a function that calls it with training=False, "
            f"otherwise {WITH_TENSORFLOW}"
        )
        raise ExportError(msg)
    left = [node for node in definition.node if node.name in used]
    del definition.node[:]
    definition.node.extend(left)


def _sources(nodes: Mapping[str, Any], tensors: Sequence[str]) -> set[str]:
    """Names of the nodes that tensors are computed from."""
    found: set[str] = set()
    waiting = [_node(name) for name in tensors]
    while waiting:
        name = waiting.pop()
        if name not in found and name in nodes:
            found.add(name)
            waiting += [_node(source) for source in nodes[name].input]
    return found


class FrozenGraph:
    """A GraphDef without variables, with its inputs and outputs by alias.

    Attributes:
        definition: The GraphDef; changed in place.
        inputs: Placeholder by input alias.
        outputs: Tensor name by output alias.
        cuts: Dtypes of the placeholders that replace tensors, by placeholder name.
    """

    def __init__(
        self,
        definition: Any,  # noqa: ANN401  of an untyped module
        *,
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
    ) -> None:
        """Wrap a graph without copying it.

        Args:
            definition: GraphDef.
            inputs: Tensor name by input alias.
            outputs: Tensor name by output alias.
        """
        self.definition = definition
        self.inputs = {alias: _node(name) for alias, name in inputs.items()}
        self.outputs = dict(outputs)
        self.cuts: dict[str, Any] = {}
        self._nodes = {node.name: node for node in definition.node}

    def function(self, inputs: Mapping[str, Shape], outputs: Sequence[str]) -> Any:  # noqa: ANN401
        """The part of the graph from some placeholders to some tensors, as a TensorFlow function.

        Args:
            inputs: The shape to declare for each placeholder, by name, in the order of arguments.
            outputs: Names of the tensors to compute.

        Returns:
            A TensorFlow function from tensors to a list of tensors.
        """
        definition = type(self.definition)()
        definition.CopyFrom(self.definition)
        for node in definition.node:
            if node.name in inputs:
                node.attr["shape"].shape.CopyFrom(_proto(inputs[node.name]))
        return wrap_function.function_from_graph_def(
            definition, [f"{name}:0" for name in inputs], list(outputs)
        )

    def shape(self, placeholder: str) -> Shape:
        """The shape of a placeholder."""
        shape = tf.TensorShape(self._nodes[placeholder].attr["shape"].shape)
        if shape.rank is None:
            return None
        return tuple(-1 if size is None else int(size) for size in shape.as_list())

    def op(self, node: str) -> str:
        """The type of a node."""
        op: str = self._nodes[node].op
        return op

    def free_name(self, wanted: str) -> str:
        """A name that no node has: the one wanted, with underscores appended if it is taken."""
        while wanted in self._nodes:
            wanted += "_"
        return wanted

    def reached(self, tensors: list[str], *, through_shapes: bool = True) -> set[str]:
        """Names of all nodes that tensors are computed from.

        Args:
            tensors: Names of the tensors.
            through_shapes: Whether the shape of a tensor counts as computed from that tensor.
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
        """Whether a tensor is computed from an input or from a placeholder in `cuts`."""
        sources = {*self.inputs.values(), *self.cuts}
        return bool(self.reached([tensor], through_shapes=through_shapes) & sources)

    def users(self, name: str) -> Iterator[Any]:
        """The nodes that take a node's first output, directly or through Identity nodes."""
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

    def cut(self, tensors: list[str], name: str, dtype: Any, shape: Shape) -> None:  # noqa: ANN401
        """Replace tensors by one placeholder.

        Args:
            tensors: Names of the tensors. Nodes and outputs that used one use the placeholder now.
            name: Name of the placeholder.
            dtype: tf.DType of the placeholder.
            shape: Shape of the placeholder: -1 for a free size, None for any rank.
        """
        node = self.definition.node.add(name=name, op="Placeholder")
        node.attr["dtype"].type = dtype.as_datatype_enum
        node.attr["shape"].shape.CopyFrom(_proto(shape))
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
            ExportError: the tensor depends on an input.
        """
        if self.depends_on_input(tensor):
            msg = f"{tensor} is computed from an input, expected a constant"
            raise ExportError(msg)
        return np.asarray(self._run(tensor_name(tensor), {}))

    def value_for_shapes(self, tensor: str, cuts: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """The value of a tensor that depends only on the shapes of the inputs.

        Args:
            tensor: Name of the tensor.
            cuts: Values for some placeholders by name. The other placeholders are fed zeros or
                empty strings, with 2 for each free size.
        """
        values = {}
        for node in self.definition.node:
            if node.op == "Placeholder":
                dtype = tf.dtypes.as_dtype(node.attr["dtype"].type)
                sizes = self.shape(node.name) or ()
                shape = [_ANY_SIZE if size == -1 else size for size in sizes]
                zeros = np.full(shape, b"" if dtype == tf.string else 0)
                values[f"{node.name}:0"] = cuts.get(node.name, zeros)
        return self._run(tensor, values)

    def _run(self, tensor: str, values: Mapping[str, Any]) -> Any:  # noqa: ANN401  an array
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(self.definition, name="")
            with tf.compat.v1.Session(graph=graph) as session:
                return session.run(tensor, dict(values))


def tensor_name(source: str) -> str:
    """The tensor that a node's input names: `node:0` for `node`; control inputs stay `^node`."""
    return source if ":" in source or source.startswith("^") else f"{source}:0"


def _node(source: str) -> str:
    return source.removeprefix("^").partition(":")[0]


def _rename_functions(definition: Any) -> None:  # noqa: ANN401  GraphDef
    """Give the functions of a graph names that no function of this process has.

    TensorFlow refuses a second function of the same name, and a process that has saved the model
    still holds the functions under the old names.
    """
    library = definition.library
    prefix = f"frozen_{next(_GRAPHS)}"
    names = {
        function.signature.name: f"{prefix}_{number}"
        for number, function in enumerate(library.function)
    }
    for gradient in library.gradient:
        gradient.function_name = names.get(gradient.function_name, gradient.function_name)
        gradient.gradient_func = names.get(gradient.gradient_func, gradient.gradient_func)
    for function in library.function:
        function.signature.name = names[function.signature.name]
    for node in _all_nodes(definition):
        node.op = names.get(node.op, node.op)
        for attribute in node.attr.values():
            for called in (attribute.func, *attribute.list.func):
                if called.name in names:
                    called.name = names[called.name]


def _all_nodes(definition: Any) -> Iterator[Any]:  # noqa: ANN401  GraphDef
    """The nodes of a graph and of its functions."""
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


def _proto(shape: Shape) -> Any:  # noqa: ANN401  TensorShapeProto
    sizes = None if shape is None else [None if size == -1 else size for size in shape]
    return tf.TensorShape(sizes).as_proto()
