"""A SavedModel as TensorFlow Serving runs it: one session, fed and asked by the names of tensors.

TensorFlow Serving restores the graph and its variables, and none of the Python objects that were
saved. So does this, and takes what `tf.saved_model.load` cannot rebuild: models of TensorFlow 1
whose variables are references, or Keras models with an optimizer that Keras no longer has.

A session checks no shape: what is fed goes to the operations behind it, and those refuse it or not.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.framework import convert_to_constants
from tensorflow.python.ops import gen_lookup_ops, gen_resource_variable_ops
from tensorflow.python.util import deprecation

from export.errors import ExportError
from export.failures import reason
from serving.tensors.signature import Signature

_SERVE = "serve"


class ServingSession:
    """The serving graph of a SavedModel in a session; a context manager that closes it."""

    def __init__(self, folder: Path) -> None:
        """Load the graph, restore its variables and run its initialization.

        Args:
            folder: Holds saved_model.pb.

        Raises:
            ExportError: TensorFlow cannot load it.
        """
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph)
        try:
            with deprecation.silence():
                tf.compat.v1.saved_model.load(self._session, [_SERVE], str(folder))
        except Exception as error:  # TensorFlow raises whatever its parts do; no common base
            self._session.close()
            told = reason(error)
            way_out = "expected a whole SavedModel: copy or save it again"
            if foreign := re.match(r"Op type not registered '(\w+)'", told):
                told = foreign[0]
                way_out = (
                    "expected TensorFlow's own operations: this one is of another package, without "
                    "which neither ONNX Runtime nor TensorFlow runs it"
                )
            msg = f"TensorFlow {tf.__version__} cannot load {folder} ({told}); {way_out}"
            raise ExportError(msg) from error
        self._calls: dict[tuple[tuple[str, ...], tuple[str, ...]], Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._calls.clear()
        self._session.close()

    def ask(
        self, signature: Signature, inputs: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, npt.NDArray[Any]]:
        """What TensorFlow answers; no shape is checked before the operations see it.

        Args:
            signature: With the names of the SavedModel's graph.
            inputs: By input alias; strings as objects.

        Returns:
            By output alias; strings as objects, each `bytes`.

        Raises:
            tf.errors.OpError: an operation refuses the inputs.
        """
        feeds = tuple(signature.inputs[alias].graph_name for alias in inputs)
        fetches = tuple(spec.graph_name for spec in signature.outputs.values())
        call = self._calls.get((feeds, fetches))
        if call is None:
            # Session.run and make_callable compare shapes with the placeholder's, which
            # TensorFlow Serving does not.
            options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
            call = self._session._make_callable_from_options(options)  # noqa: SLF001  see above
            self._calls[feeds, fetches] = call
        answers = call(*inputs.values())
        return {
            # A string without a dimension comes as bytes.
            alias: np.asarray(answer, object if isinstance(answer, bytes) else None)
            for alias, answer in zip(signature.outputs, answers, strict=True)
        }

    def dtype(self, tensor: str) -> int:
        """The element type of a tensor of the graph, as a number of `tensorflow.DataType`."""
        number: int = self._graph.get_tensor_by_name(tensor).dtype.base_dtype.as_datatype_enum
        return number

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """The shape that the graph gives a tensor: -1 for a free size, None for any rank."""
        shape = self._graph.get_tensor_by_name(tensor).shape
        if shape.rank is None:
            return None
        return tuple(-1 if size is None else int(size) for size in shape.as_list())

    def graph(self, tensors: Sequence[str]) -> Any:  # noqa: ANN401  GraphDef, of an untyped module
        """The part of the graph that computes tensors, as a GraphDef for any device.

        Args:
            tensors: Names.
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
        """A GraphDef made from `graph`, with constants in the place of the variables.

        Args:
            definition: Its variables have their names still.
            nodes: What to keep, with all that they are computed from.
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
            None if the graph has no such operation.
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
        """Give each variable the operation by which its value is read, if the graph has none."""
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
