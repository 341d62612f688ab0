"""Reads the signatures of a SavedModel from its SignatureDefs and its graph."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import tensor_util

from serving.errors import Unsupported
from serving.repository.model_folder import SAVED_MODEL_FILE
from serving.tensors.bfloat16 import BFLOAT16
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME, DataType, Signature, TensorSpec

logger = logging.getLogger(__name__)

# TensorFlow's own entry, which runs when a SavedModel is loaded; clients do not call it.
_INIT_SIGNATURE = "__saved_model_init_op"
_SERVED = {data_type.value: data_type for data_type in DataType}


class _UnservedError(Exception):
    """A signature cannot be served; the message gives the reason."""


def read(definitions: Mapping[str, Any], graph: Any, folder: Path) -> dict[str, Signature]:  # noqa: ANN401  tf.Graph
    """Return the signatures that can be served, `serving_default` first, the others by name.

    A signature that cannot be served is left out, and the reason is logged. TensorFlow Serving
    loads such a version too, and answers the other signatures.

    Args:
        definitions: SignatureDefs by name.
        graph: The graph that holds the tensors of the SignatureDefs.
        folder: Folder of the SavedModel, for messages.

    Raises:
        Unsupported: no signature can be served.
    """
    names = sorted(definitions.keys() - {_INIT_SIGNATURE})
    names.sort(key=lambda name: name != DEFAULT_SIGNATURE_NAME)  # stable: the rest stays sorted
    signatures: dict[str, Signature] = {}
    reasons = {}
    for name in names:
        try:
            signatures[name] = _signature(definitions[name], graph)
        except _UnservedError as error:
            reasons[name] = str(error)
    if not signatures:
        found = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "none"
        msg = f"{folder} needs a signature that can be served; found {found}"
        raise Unsupported(msg)
    for name, reason in reasons.items():
        logger.warning("%s: signature %s cannot be served: %s", folder, name, reason)
    for name, signature in signatures.items():
        for alias, spec in (*signature.inputs.items(), *signature.outputs.items()):
            if spec.coo_sparse is not None:
                logger.warning(
                    '%s: signature %s: "%s" is sparse: a request that feeds or fetches it is '
                    "refused, as TensorFlow Serving refuses it",
                    folder,
                    name,
                    alias,
                )
    return signatures


def _signature(definition: Any, graph: Any) -> Signature:  # noqa: ANN401  untyped modules
    inputs = {
        alias: _spec(f'input "{alias}"', info, graph)
        for alias, info in sorted(definition.inputs.items())
    }
    outputs = {
        alias: _spec(f'output "{alias}"', info, graph)
        for alias, info in sorted(definition.outputs.items())
    }
    if not outputs:
        msg = "it has no output"
        raise _UnservedError(msg)
    return Signature(
        method_name=definition.method_name,
        file=SAVED_MODEL_FILE,
        inputs=inputs,
        outputs=outputs,
        defaults={
            alias: _default(alias, value, inputs[alias])
            for alias, value in sorted(definition.defaults.items())
            if alias in inputs
        },
    )


def _spec(what: str, info: Any, graph: Any) -> TensorSpec:  # noqa: ANN401  TensorInfo, tf.Graph
    encoding = info.WhichOneof("encoding")
    if encoding == "coo_sparse":
        sparse = info.coo_sparse
        names = (
            sparse.values_tensor_name,
            sparse.indices_tensor_name,
            sparse.dense_shape_tensor_name,
        )
        number = info.dtype
    elif encoding == "name":
        names = None
        number = _number(what, info.name, graph)
    else:
        msg = f"{what} is a composite tensor, expected a dense one"
        raise _UnservedError(msg)
    if number not in _SERVED:
        msg = (
            f"{what} is {tf.dtypes.as_dtype(number).name}, which cannot be served, expected "
            f"one of {', '.join(known.label for known in DataType)}; cast it in the graph"
        )
        raise _UnservedError(msg)
    shape = tuple(int(dimension.size) for dimension in info.tensor_shape.dim)
    return TensorSpec(
        dtype=_SERVED[number],
        shape=None if info.tensor_shape.unknown_rank else shape,
        tensor=info.name if names is None else ",".join(names),  # no tensor has a comma in its name
        graph_name=info.name,
        coo_sparse=names,
    )


def _number(what: str, name: str, graph: Any) -> int:  # noqa: ANN401  tf.Graph
    """Return the DataType number of a tensor from the graph: old SignatureDefs may omit it."""
    try:
        tensor = graph.get_tensor_by_name(name)
    except (KeyError, ValueError) as error:
        msg = f"{what} is tensor {name!r}, which the graph does not have"
        raise _UnservedError(msg) from error
    number: int = tensor.dtype.base_dtype.as_datatype_enum
    return number


def _default(alias: str, value: Any, spec: TensorSpec) -> Any:  # noqa: ANN401  TensorProto, array
    array = tensor_util.MakeNdarray(value)
    if array.dtype == tf.bfloat16.as_numpy_dtype:
        array = array.view(BFLOAT16)
    if DataType.from_numpy(array.dtype) is not spec.dtype:
        msg = f'the default of "{alias}" is {array.dtype}, expected {spec.dtype.label}'
        raise _UnservedError(msg)
    array.flags.writeable = False
    return array
