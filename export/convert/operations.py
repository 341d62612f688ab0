"""Operations of TensorFlow that tf2onnx leaves as they are, and ONNX can express all the same."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from tf2onnx import utils

from export.convert.lookup_tables import Handlers
from export.errors import ExportError
from export.failures import WITH_TENSORFLOW
from export.graphs import canonical_names

# ONNX Runtime has kernels for both.
_DOMAINS = ("", "ai.onnx.ml")


def handlers() -> Handlers:
    """The conversions, as tf2onnx's `custom_op_handlers`."""
    return {"Erfc": (_erfc, []), "Bucketize": (_bucketize, [])}


def check(model: onnx.ModelProto) -> None:
    """Refuse a graph with nodes that are not ONNX's: tf2onnx logs some of them and goes on.

    Raises:
        ExportError: names their types.
    """
    versions = {opset.domain: opset.version for opset in model.opset_import}
    foreign = sorted(set(_foreign(model, versions)))
    if foreign:
        msg = f"ONNX has no counterpart for TensorFlow's {', '.join(foreign)}; {WITH_TENSORFLOW}"
        raise ExportError(msg)


def _foreign(model: onnx.ModelProto, versions: dict[str, int]) -> Iterator[str]:
    for node in canonical_names.nodes(model.graph):
        domain = "" if node.domain == "ai.onnx" else node.domain
        version = versions.get(domain, 0)
        if domain not in _DOMAINS or not onnx.defs.has(node.op_type, version, domain):
            yield node.op_type if not domain else f"{domain}.{node.op_type}"


def _erfc(ctx: Any, node: Any, _name: str, _args: list[str]) -> None:  # noqa: ANN401
    """1 - erf(x): as in GELU. ONNX Runtime has Erf for float32 alone."""
    dtype, shape = ctx.get_dtype(node.output[0]), ctx.get_shape(node.output[0])
    source, outputs, name = node.input[0], list(node.output), node.name
    ctx.remove_node(name)
    one = ctx.make_const(utils.make_name("one"), np.array(1, utils.map_onnx_to_numpy_type(dtype)))
    cast = dtype != TensorProto.FLOAT
    if cast:
        source = ctx.make_node("Cast", [source], attr={"to": TensorProto.FLOAT}).output[0]
    erf = ctx.make_node("Erf", [source], shapes=[shape], dtypes=[TensorProto.FLOAT])
    if cast:
        erf = ctx.make_node("Cast", [erf.output[0]], attr={"to": dtype})
    ctx.make_node(
        "Sub",
        [one.output[0], erf.output[0]],
        outputs=outputs,
        name=name,
        shapes=[shape],
        dtypes=[dtype],
    )


def _bucketize(ctx: Any, node: Any, _name: str, _args: list[str]) -> None:  # noqa: ANN401
    """The number of boundaries that a value is not below; TensorFlow compares with floats."""
    boundaries = np.array(list(node.get_attr("boundaries").floats), np.float32)
    dtype, shape = ctx.get_dtype(node.input[0]), ctx.get_shape(node.output[0])
    source, outputs, name = node.input[0], list(node.output), node.name
    ctx.remove_node(name)
    compared = np.float64 if dtype == TensorProto.DOUBLE else np.float32
    if dtype not in {TensorProto.FLOAT, TensorProto.DOUBLE}:
        source = ctx.make_node("Cast", [source], attr={"to": TensorProto.FLOAT}).output[0]
    axis = ctx.make_const(utils.make_name("axis"), np.array([-1], np.int64)).output[0]
    limits = ctx.make_const(utils.make_name("limits"), boundaries.astype(compared)).output[0]
    column = ctx.make_node("Unsqueeze", [source, axis]).output[0]
    below = ctx.make_node("Less", [column, limits]).output[0]
    passed = ctx.make_node("Not", [below]).output[0]
    counted = ctx.make_node("Cast", [passed], attr={"to": TensorProto.INT32}).output[0]
    ctx.make_node(
        "ReduceSum",
        [counted, axis],
        attr={"keepdims": 0},
        outputs=outputs,
        name=name,
        shapes=[shape],
        dtypes=[TensorProto.INT32],
    )
