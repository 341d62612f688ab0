"""A SavedModel in a TensorFlow session, as TensorFlow Serving runs it, with access to its graph.

The session is the server's own SavedModelSession. It also loads SavedModels that
`tf.saved_model.load` cannot rebuild: TensorFlow 1 models with reference variables, or Keras models
with an optimizer that Keras no longer has.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework import convert_to_constants
from tensorflow.python.ops import gen_lookup_ops, gen_resource_variable_ops
from tensorflow.python.util import deprecation

from export.errors import ExportError
from export.failures import reason
from serving.engine.saved_models.session import SavedModelSession
from serving.tensors.signature import Signature


class ServingSession:
    """The serving graph of a SavedModel in a session; a context manager that closes it."""

    def __init__(self, folder: Path) -> None:
        """Load the graph, restore its variables and run its initialization.

        Args:
            folder: Folder of saved_model.pb.

        Raises:
            ExportError: TensorFlow cannot load the SavedModel.
        """
        try:
            self._loaded = SavedModelSession(folder)
        except Exception as error:  # the errors of TensorFlow's parts have no common base
            told = reason(error)
            way_out = "expected a whole SavedModel: copy or save it again"
            if foreign := re.match(r"Op type not registered '(\w+)'", told):
                told = foreign[0]
                way_out = (
                    "expected TensorFlow's own operations: this one comes from another package, "
                    "and without that package neither ONNX Runtime nor TensorFlow can run it"
                )
            msg = f"TensorFlow {tf.__version__} cannot load {folder} ({told}); {way_out}"
            raise ExportError(msg) from error
        self._session = self._loaded.session
        self._graph = self._session.graph

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loaded.close()

    def ask(
        self, signature: Signature, inputs: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, npt.NDArray[Any]]:
        """Run a signature; only the operations themselves check the shapes of the inputs.

        Args:
            signature: Signature whose `graph_name`s are the names in the SavedModel's graph.
            inputs: Arrays by input alias; strings in arrays of dtype object.

        Returns:
            Arrays by output alias; strings as `bytes` in arrays of dtype object.

        Raises:
            tf.errors.OpError: an operation refuses the inputs.
        """
        feeds = {signature.inputs[alias].graph_name: array for alias, array in inputs.items()}
        fetches = [spec.graph_name for spec in signature.outputs.values()]
        return dict(zip(signature.outputs, self._loaded.run(fetches, feeds), strict=True))

    def dtype(self, tensor: str) -> int:
        """The element type of a tensor in the graph, as the enum value of `tensorflow.DataType`."""
        number: int = self._graph.get_tensor_by_name(tensor).dtype.base_dtype.as_datatype_enum
        return number

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """The shape of a tensor in the graph: -1 for a free size, None for any rank."""
        shape = self._graph.get_tensor_by_name(tensor).shape
        if shape.rank is None:
            return None
        return tuple(-1 if size is None else int(size) for size in shape.as_list())

    def graph(self, tensors: Sequence[str]) -> Any:  # noqa: ANN401  GraphDef, of an untyped module
        """The part of the graph that computes some tensors, as a GraphDef without devices.

        Args:
            tensors: Names of the tensors.
        """
        self._read_variables()
        nodes = sorted({name.partition(":")[0] for name in tensors})
        with deprecation.silence():
            part = tf.compat.v1.graph_util.extract_sub_graph(self._graph.as_graph_def(), nodes)
        bodies = (function.node_def for function in part.library.function)
        for node in (node for nodes in (part.node, *bodies) for node in nodes):
            node.device = ""
        return part

    def with_constants(self, definition: Any, nodes: Sequence[str]) -> Any:  # noqa: ANN401
        """Replace the variables of a GraphDef by constants with the session's values.

        Args:
            definition: A GraphDef made from `graph`, with unchanged names of variables.
            nodes: Names of the nodes to keep, with all nodes that they are computed from.
        """
        with deprecation.silence():
            return convert_to_constants.convert_variables_to_constants_from_session_graph(
                self._session, definition, list(nodes)
            )

    def table(self, node: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
        """Keys and values of a lookup table.

        Args:
            node: Name of the operation that makes the table.

        Returns:
            Two arrays of the same length; None if the graph has no such operation.
        """
        try:
            made = self._graph.get_operation_by_name(node)
        except KeyError:
            return None
        with self._graph.as_default():
            exported = gen_lookup_ops.lookup_table_export_v2(
                made.outputs[0],
                Tkeys=tf.dtypes.as_dtype(made.get_attr("key_dtype")),
                Tvalues=tf.dtypes.as_dtype(made.get_attr("value_dtype")),
            )
        keys, values = self._session.run(exported)
        return keys, values

    def _read_variables(self) -> None:
        """Add an operation that reads the value to each variable without one."""
        names = {operation.name for operation in self._graph.get_operations()}
        for operation in self._graph.get_operations():
            read = f"{operation.name}/Read/ReadVariableOp"
            if operation.type == "VarHandleOp" and read not in names:
                with self._graph.as_default(), tf.name_scope(""):
                    gen_resource_variable_ops.read_variable_op(
                        operation.outputs[0],
                        dtype=tf.dtypes.as_dtype(operation.get_attr("dtype")),
                        name=read,
                    )
