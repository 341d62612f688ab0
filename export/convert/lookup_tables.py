"""Convert lookup tables: TensorFlow keeps them outside the graph, ONNX inside the lookup node.

A table of class names, for example, turns the indices of `top_k` into text. The keys and values of
the table become those of a LabelEncoder. ONNX Runtime supports LabelEncoder for 64-bit integers,
floats and strings, so 32-bit integers are widened to 64 bits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from tf2onnx import utils

from export.convert.frozen_graph import FrozenGraph
from export.errors import ExportError
from export.sources.serving_session import ServingSession

_FIND = "LookupTableFindV2"
_TABLES = ("HashTableV2", "MutableHashTableV2")
_DOMAIN = "ai.onnx.ml"
# The element types of a LabelEncoder of opset 2, with the names of its attributes for each.
_KINDS = {TensorProto.INT64: "int64s", TensorProto.STRING: "strings", TensorProto.FLOAT: "floats"}
# Types that a LabelEncoder lacks, with a type that holds all their values.
_WIDER = {TensorProto.INT32: TensorProto.INT64}

Handlers = dict[str, tuple[Callable[..., None], list[str]]]


@dataclass(frozen=True)
class _Table:
    """A table's content, one value for each key."""

    keys: npt.NDArray[Any]
    values: npt.NDArray[Any]


@dataclass(frozen=True)
class Lookups:
    """Conversion of the lookups of a graph, for tf2onnx.

    Attributes:
        handlers: `custom_op_handlers` for tf2onnx.
        refusals: Messages about lookups that could not be converted, filled while tf2onnx runs. The
            handler does not raise, so tf2onnx continues after a refusal.
    """

    handlers: Handlers
    refusals: list[str]


def find(session: ServingSession, graph: FrozenGraph) -> Lookups:
    """Find the lookup tables of a graph.

    Args:
        session: The SavedModel with its filled tables.
        graph: The graph of a signature; its tables are renamed in place.
    """
    tables: dict[str, _Table] = {}
    refusals: list[str] = []
    for node in graph.definition.node:
        # A table inlined from a function is not in the session's graph, so its content is not
        # known here, and tf2onnx refuses its lookup.
        if node.op in _TABLES and (content := session.table(node.name)) is not None:
            name = f"table_{len(tables)}"
            node.attr["shared_name"].s = name.encode()
            tables[name] = _Table(*content)

    def convert(ctx: Any, node: Any, _name: str, _args: list[str]) -> None:  # noqa: ANN401
        try:
            _to_label_encoder(ctx, node, tables)
        except ExportError as error:
            refusals.append(str(error))

    return Lookups({_FIND: (convert, [])} if tables else {}, refusals)


def _to_label_encoder(ctx: Any, node: Any, tables: Mapping[str, _Table]) -> None:  # noqa: ANN401
    """Replace a lookup by a LabelEncoder in tf2onnx's graph.

    Raises:
        ExportError: a LabelEncoder does not support the types of the lookup, or the default value
            is not a constant.
    """
    made = node.inputs[0]
    while made.type == "Identity":
        made = made.inputs[0]
    table = tables[made.get_attr_value("shared_name").decode()]
    dtypes = ctx.get_dtype(node.input[1]), ctx.get_dtype(node.output[0])
    key_type, value_type = (_WIDER.get(dtype, dtype) for dtype in dtypes)
    if not {key_type, value_type} <= _KINDS.keys() or not node.inputs[2].is_const():
        names = [TensorProto.DataType.Name(each) for each in dtypes]
        msg = (
            f"lookup {node.name} goes from {names[0]} to {names[1]}, expected INT32, INT64, FLOAT "
            "or STRING, and a constant default"
        )
        raise ExportError(msg)
    default = np.asarray(node.inputs[2].get_tensor_value(as_list=False)).ravel()[0]
    keys, values = _KINDS[key_type], _KINDS[value_type]
    shape, outputs = ctx.get_shape(node.output[0]), list(node.output)
    source, name = node.input[1], node.name
    ctx.remove_node(node.name)
    if key_type != dtypes[0]:
        source = ctx.make_node("Cast", [source], attr={"to": key_type}).output[0]
    widened = value_type != dtypes[1]
    encoder = ctx.make_node(
        "LabelEncoder",
        [source],
        outputs=None if widened else outputs,
        name=utils.make_name(name) if widened else name,
        domain=_DOMAIN,
        shapes=[shape],
        dtypes=[value_type],
        attr={
            f"keys_{keys}": table.keys.tolist(),
            f"values_{values}": table.values.tolist(),
            f"default_{values.removesuffix('s')}": default.item()
            if isinstance(default, np.generic)
            else default,
        },
    )
    if widened:
        ctx.make_node(
            "Cast",
            encoder.output,
            outputs=outputs,
            name=name,
            shapes=[shape],
            dtypes=[dtypes[1]],
            attr={"to": dtypes[1]},
        )
    if not ctx.find_output_consumers(made.output[0]):
        ctx.remove_node(made.name)
