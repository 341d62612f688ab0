"""Conversions of TensorFlow operations that ONNX can express but tf2onnx does not convert."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from tf2onnx import utils

from export.convert.lookup_tables import Handlers
from export.failures import no_counterpart
from export.graphs import canonical_names

# Operator domains that ONNX Runtime has kernels for.
_DOMAINS = ("", "ai.onnx.ml")
# Supported operations on the complex numbers of a spectrum.
_OF_SPECTRUM = ("ComplexAbs", "Real", "Imag")
_SPECTRUM = "spectrum"
# ONNX operations by the TensorFlow operations that tf2onnx converts to them. StringNormalizer
# differs: it also changes letters beyond ASCII, and ONNX Runtime needs a locale for it that few
# machines have.
_LIKENESSES = {"StringNormalizer": "StringLower or StringUpper"}


def handlers() -> Handlers:
    """The conversions as `custom_op_handlers` of tf2onnx."""
    return {
        "Erfc": (_erfc, []),
        "Bucketize": (_bucketize, []),
        "DenseBincount": (_dense_bincount, []),
        "SparseTensorDenseMatMul": (_sparse_product, []),
        "RFFT": (_spectrum, []),
        **dict.fromkeys(_OF_SPECTRUM, (_of_spectrum, [])),
    }


def check(model: onnx.ModelProto) -> None:
    """Refuse a graph with operations that ONNX does not have; tf2onnx may leave such nodes in.

    Raises:
        ExportError: the graph has such operations; the message names their types.
    """
    versions = {opset.domain: opset.version for opset in model.opset_import}
    foreign = sorted(set(_foreign(model, versions)))
    if foreign:
        raise no_counterpart(foreign)


def _foreign(model: onnx.ModelProto, versions: dict[str, int]) -> Iterator[str]:
    for node in canonical_names.nodes(model.graph):
        domain = "" if node.domain == "ai.onnx" else node.domain
        version = versions.get(domain, 0)
        if node.op_type in _LIKENESSES:
            yield _LIKENESSES[node.op_type]
        if domain not in _DOMAINS or not onnx.defs.has(node.op_type, version, domain):
            yield node.op_type if not domain else f"{domain}.{node.op_type}"


def _erfc(ctx: Any, node: Any, _name: str, _args: list[str]) -> None:  # noqa: ANN401
    """Convert Erfc to 1 - erf(x), as GELU uses it. ONNX Runtime has Erf for float32 only."""
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
    """Convert Bucketize: count the boundaries that are not above a value.

    TensorFlow's boundaries are float32; values of other types than floats are cast to float32.
    """
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


def _dense_bincount(ctx: Any, node: Any, _name: str, _args: list[str]) -> None:  # noqa: ANN401
    """Convert DenseBincount: count how often a row holds each number from 0 to size - 1.

    Larger numbers are not counted. tf2onnx's own conversion treats values of unknown rank, such as
    the results of a lookup, as a single row.
    """
    values, size, weights = node.input
    weights_shape, dtype = ctx.get_shape(weights), ctx.get_dtype(node.output[0])
    utils.make_sure(weights_shape is not None, "DenseBincount with weights of unknown shape")
    binary = node.get_attr_value("binary_output", False)
    shape, outputs, name = ctx.get_shape(node.output[0]), list(node.output), node.name
    ctx.remove_node(name)

    def constant(*numbers: int) -> Any:  # noqa: ANN401
        array = np.array(numbers, np.int64)
        return ctx.make_const(utils.make_name("constant"), array).output[0]

    def make(kind: str, *inputs: Any, **attributes: Any) -> Any:  # noqa: ANN401
        return ctx.make_node(kind, list(inputs), attr=attributes).output[0]

    # One extra column counts the numbers that are too large; it is cut off at the end.
    values = make("Cast", values, to=TensorProto.INT64)
    size = make("Reshape", make("Cast", size, to=TensorProto.INT64), constant(1))
    columns = make("Add", size, constant(1))
    rows = make("Slice", make("Shape", values), constant(0), constant(-1))
    zeros = onnx.helper.make_tensor("value", dtype, [1], [0])
    counts = make("ConstantOfShape", make("Concat", rows, columns, axis=0), value=zeros)
    added = weights
    if 0 in weights_shape or binary:
        ones = onnx.helper.make_tensor("value", dtype, [1], [1])
        added = make("ConstantOfShape", make("Shape", values), value=ones)
    counts = make(
        "ScatterElements",
        *(counts, make("Min", values, size), added),
        axis=-1,
        reduction="none" if binary else "add",
    )
    ctx.make_node(
        "Slice",
        [counts, constant(0), size, constant(-1)],
        outputs=outputs,
        name=name,
        shapes=[shape],
        dtypes=[dtype],
    )


def _sparse_product(ctx: Any, node: Any, _name: str, _args: list[str]) -> None:  # noqa: ANN401
    """Convert SparseTensorDenseMatMul: make the sparse matrix dense, then multiply."""
    indices, values, size, dense = node.input
    transposed = [bool(node.get_attr_value(f"adjoint_{side}", False)) for side in "ab"]
    dtype, shape = ctx.get_dtype(node.output[0]), ctx.get_shape(node.output[0])
    outputs, name = list(node.output), node.name
    ctx.remove_node(name)
    zero = onnx.helper.make_tensor("value", dtype, [1], [0])
    zeros = ctx.make_node("ConstantOfShape", [size], attr={"value": zero}).output[0]
    scattered = ctx.make_node("ScatterND", [zeros, indices, values], attr={"reduction": "add"})
    factors = [
        ctx.make_node("Transpose", [factor], attr={"perm": [1, 0]}).output[0] if turn else factor
        for factor, turn in zip((scattered.output[0], dense), transposed, strict=True)
    ]
    ctx.make_node("MatMul", factors, outputs=outputs, name=name, shapes=[shape], dtypes=[dtype])


def _spectrum(ctx: Any, node: Any, _name: str, _args: list[str]) -> None:  # noqa: ANN401
    """Convert RFFT of real samples to a product with a matrix of cosines and sines.

    The result has the real parts of the spectrum, then the imaginary parts. tf2onnx's own
    conversion needs a known number of rows.
    """
    utils.make_sure(node.inputs[1].is_const(), "RFFT of a computed length")
    users = {user.type for user in ctx.find_output_consumers(node.output[0])}
    utils.make_sure(users <= {*_OF_SPECTRUM}, "RFFT whose complex numbers go to %r", users)
    dtype = ctx.get_dtype(node.input[0])
    length = int(node.inputs[1].get_tensor_value(as_list=False).ravel()[0])
    samples, outputs = node.input[0], list(node.output)
    ctx.remove_node(node.name)

    def constant(array: Any) -> Any:  # noqa: ANN401
        return ctx.make_const(utils.make_name("constant"), np.asarray(array)).output[0]

    turns = np.outer(np.arange(length), np.arange(length // 2 + 1)) % length
    angles = -2 * np.pi / length * turns
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    kept = ctx.make_node("Slice", [samples, constant([0]), constant([length]), constant([-1])])
    ctx.make_node(
        "MatMul",
        [kept.output[0], constant(waves.astype(utils.map_onnx_to_numpy_type(dtype)))],
        outputs=outputs,
        name=utils.make_name(_SPECTRUM),
        dtypes=[dtype],
    )


def _of_spectrum(ctx: Any, node: Any, _name: str, _args: list[str]) -> None:  # noqa: ANN401
    """Convert ComplexAbs, Real or Imag of a spectrum: its magnitudes, real or imaginary parts."""
    made = node.inputs[0]
    known = made.type == "RFFT" or made.name.startswith(_SPECTRUM)
    utils.make_sure(known, "%s of a tensor that is not a spectrum of real samples", node.type)
    kind, source, outputs, name = node.type, node.input[0], list(node.output), node.name
    dtype, shape = ctx.get_dtype(node.output[0]), ctx.get_shape(node.output[0])
    ctx.remove_node(name)
    attributes = {"axis": -1, "num_outputs": 2}
    real, imaginary = ctx.make_node("Split", [source], attr=attributes, output_count=2).output
    described = {"outputs": outputs, "name": name, "shapes": [shape], "dtypes": [dtype]}
    if kind != "ComplexAbs":
        ctx.make_node("Identity", [real if kind == "Real" else imaginary], **described)
        return
    squares = [ctx.make_node("Mul", [part, part]).output[0] for part in (real, imaginary)]
    ctx.make_node("Sqrt", [ctx.make_node("Add", squares).output[0]], **described)
