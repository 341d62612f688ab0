"""Cut ParseExample out of a signature: the server parses tf.Examples, ONNX computes the rest.

TensorFlow parses serialized tf.Examples inside the graph::

    examples string [-1] ─▶ ParseExample ─▶ features ─▶ the model ─▶ outputs

The keys, types, shapes and defaults of the operation become the feature spec in signature.json; the
server parses with it. The rest of the graph is a function of the features, which tf2onnx can
convert. An output that depends only on the number of examples, as class names do, is recorded as a
constant in signature.json.

Supported are dense features (FixedLenFeature, FixedLenSequenceFeature), and sparse features
(VarLenFeature) that go only to `tf.sparse.to_dense`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from export.convert.frozen_graph import FrozenGraph, tensor_name
from export.errors import ExportError
from export.sources.saved_model import PARSE_OPS
from serving.tensors.feature_spec import FeatureKind, FeatureSpec
from serving.tensors.signature import DataType, Signature, TensorSpec

_BATCH = "batch_shape"
_AS_STRING = "AsString"  # tf2onnx converts it to an operation with other results


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A signature whose graph no longer parses tf.Examples.

    Attributes:
        signature: The signature with a feature spec.
        placeholders: Names of the graph's placeholders, by alias of `signature.model_inputs`.
        batch: Placeholders that take the number of examples: an integer tensor of shape (1,).
    """

    signature: Signature
    placeholders: Mapping[str, str]
    batch: Sequence[str]


def cut(graph: FrozenGraph, signature: Signature) -> Cut:
    """Cut the one ParseExample out of a signature that takes serialized tf.Examples.

    Args:
        graph: The signature's graph; changed in place.
        signature: A signature from saved_model.read_signatures, with a DT_STRING input.

    Raises:
        ExportError: the string input goes to another operation than a single ParseExample; a
            feature is ragged, or sparse and used other than by `tf.sparse.to_dense`; AsString makes
            a string output from the features; a string output differs between examples without
            depending on the features; no output depends on a feature; or a feature has the name of
            another input.
    """
    strings = [alias for alias, spec in signature.inputs.items() if _is_string(spec)]
    if len(strings) != 1:
        msg = f"inputs {', '.join(strings)} are DT_STRING, expected one"
        raise ExportError(msg)
    features = _cut_parsing(graph, strings[0])
    constants = {
        alias: row
        for alias, spec in signature.outputs.items()
        if _is_string(spec) and (row := _constant_row(graph, alias)) is not None
    }
    return _assemble(graph, signature, strings[0], features, constants)


def _assemble(
    graph: FrozenGraph,
    signature: Signature,
    example_input: str,
    features: Mapping[str, "_Feature"],
    constants: Mapping[str, tuple[str, ...]],
) -> Cut:
    """Combine the features and the constant outputs into the signature that remains."""
    computed = [alias for alias in signature.outputs if alias not in constants]
    reached = graph.reached([graph.outputs[alias] for alias in computed])
    used = [key for key, feature in features.items() if feature.placeholder in reached]
    if not used:
        msg = "no output depends on a feature of the examples"
        raise ExportError(msg)
    others = {a: graph.inputs[a] for a in signature.inputs if a != example_input}
    if taken := sorted(features.keys() & others.keys()):
        msg = f"features have the names of other inputs: {', '.join(taken)}"
        raise ExportError(msg)
    arguments = {**others, **{key: features[key].placeholder for key in used}}
    batch = [name for name in graph.cuts if name.startswith(_BATCH) and name in reached]
    asked = {
        key: spec if key in used else replace(spec, tensor=replace(spec.tensor, tensor=""))
        for key, (spec, _) in features.items()
    }
    outputs = {
        alias: replace(
            spec, tensor="", shape=(-1, len(constants[alias])), constant=constants[alias]
        )
        if alias in constants
        else replace(spec, tensor=f"{alias}_output" if alias in arguments else alias)
        for alias, spec in signature.outputs.items()
    }
    return Cut(
        signature=replace(signature, outputs=outputs, feature_spec=asked),
        placeholders=arguments,
        batch=batch,
    )


def _cut_parsing(graph: FrozenGraph, alias: str) -> dict[str, "_Feature"]:
    """Replace the outputs of ParseExample by placeholders.

    Args:
        graph: The graph; changed in place.
        alias: The input that takes the serialized examples.

    Returns:
        The features by key.
    """
    parsing = []
    for user in list(graph.users(graph.inputs[alias])):
        if user.op in PARSE_OPS:
            parsing.append(user)
        elif user.op == "Shape":
            dtype = tf.dtypes.as_dtype(user.attr["out_type"].type)
            graph.cut([f"{user.name}:0"], f"{_BATCH}_{len(graph.cuts)}", dtype, (1,))
        else:
            msg = (
                f"the strings of input {alias!r} go to {user.op}, expected ParseExample alone; "
                "only serialized tf.Examples can be parsed outside the graph"
            )
            raise ExportError(msg)
    if len(parsing) != 1:
        msg = f"input {alias!r} goes to {len(parsing)} ParseExample operations, expected one"
        raise ExportError(msg)
    features = {}
    for number, parsed in enumerate(_parsed_features(parsing[0], graph)):
        spec, tensors = _feature(parsed, graph)
        name = f"feature_{number:03}"
        dtype = tf.dtypes.as_dtype(spec.tensor.dtype.value)
        graph.cut(tensors, name, dtype, spec.tensor.known_shape)
        features[parsed.key] = _Feature(spec, name)
    return features


def _feature(parsed: "_Parsed", graph: FrozenGraph) -> tuple[FeatureSpec, list[str]]:
    """The spec of a feature, and the tensors that its placeholder replaces."""
    shape, default, tensors = parsed.shape, parsed.default, parsed.tensors
    if len(tensors) > 1:  # sparse: indices, values, dense shape
        shape, (default, tensors) = (-1,), _densified(parsed, graph)
    kind = FeatureKind.VARIABLE if shape[:1] == (-1,) else FeatureKind.FIXED
    values = None if default is None or not default.size else tuple(default.ravel().tolist())
    try:
        spec = FeatureSpec(
            tensor=TensorSpec(
                dtype=DataType(parsed.dtype),
                shape=(-1, *shape),
                tensor=parsed.key,
                graph_name=parsed.key,
            ),
            key=parsed.key,
            kind=kind,
            default=values,
        )
    except ValueError as error:
        raise ExportError(str(error)) from error
    return spec, tensors


def _densified(parsed: "_Parsed", graph: FrozenGraph) -> tuple[Any, list[str]]:
    """Default value and outputs of the SparseToDense operations that take a sparse feature."""
    indices, values, shape = parsed.tensors
    results, defaults = [], []
    for node in [user for name in parsed.tensors for user in graph.direct_users(name)]:
        sources = [tensor_name(source) for source in node.input[:3]]
        if node.op != "SparseToDense" or sources != [indices, shape, values]:
            msg = (
                f"feature {parsed.key!r} is sparse (VarLenFeature) and goes to {node.op}; "
                "expected tf.sparse.to_dense alone, or a dense feature (FixedLenSequenceFeature "
                "with allow_missing=True)"
            )
            raise ExportError(msg)
        results.append(f"{node.name}:0")
        defaults.append(graph.constant(node.input[3]))
    if len({default.tobytes() for default in defaults}) > 1:
        msg = f"feature {parsed.key!r} is made dense with several default values, expected one"
        raise ExportError(msg)
    return (defaults[0] if defaults else None), results


def _constant_row(graph: FrozenGraph, alias: str) -> tuple[str, ...] | None:
    """The row that a string output repeats for each example.

    Returns:
        None if the output depends on the features or on a lookup table.

    Raises:
        ExportError: the rows for two examples differ, or AsString makes the output from the
            features, which tf2onnx converts wrongly.
    """
    tensor = graph.outputs[alias]
    batch = [name for name in graph.cuts if name.startswith(_BATCH)]
    reached = graph.reached([tensor], through_shapes=False)
    if reached & {*graph.inputs.values(), *graph.cuts} - {*batch}:
        if _AS_STRING in {graph.op(name) for name in reached}:
            msg = (
                f"output {alias!r} is DT_STRING and made of the features by {_AS_STRING}; only "
                "strings that a lookup table gives, or that are the same for every example, can be "
                "served"
            )
            raise ExportError(msg)
        return None
    try:
        rows = np.asarray(graph.value_for_shapes(tensor, {name: [2] for name in batch}))
    except tf.errors.FailedPreconditionError:
        return None  # a lookup in a table: only the SavedModel's own session fills the table
    if rows.ndim != 2 or len(rows) != 2 or (rows != rows[:1]).any():
        msg = (
            f"output {alias!r} is DT_STRING of shape {rows.shape} for two examples, expected the "
            "same row of names for each"
        )
        raise ExportError(msg)
    return tuple(value.decode() for value in rows[0])


class _Feature(NamedTuple):
    """A feature's spec, and the name of the placeholder that replaces its tensors."""

    spec: FeatureSpec
    placeholder: str


@dataclass(frozen=True, kw_only=True)
class _Parsed:
    """One feature of a ParseExample operation; `tensors` has 1 name if dense, 3 if sparse."""

    key: str
    dtype: int
    shape: tuple[int, ...]
    default: Any
    tensors: list[str]


def _parsed_features(node: Any, graph: FrozenGraph) -> Iterator[_Parsed]:  # noqa: ANN401  NodeDef
    """The features that a ParseExample or ParseExampleV2 operation parses, in output order."""
    attributes, inputs = node.attr, list(node.input)
    if node.op == "ParseExampleV2":  # inputs: examples, names, one tensor of keys a kind, defaults
        sparse_keys, dense_keys, ragged_keys = (
            _texts(graph.constant(name)) for name in (inputs[2], inputs[3], inputs[4])
        )
        defaults = inputs[5:]
    else:  # inputs: examples, names, one tensor for each key, defaults
        sparse, dense = attributes["Nsparse"].i, attributes["Ndense"].i
        keys = _texts(
            np.array([graph.constant(name).item() for name in inputs[2 : 2 + sparse + dense]])
        )
        sparse_keys, dense_keys, ragged_keys = keys[:sparse], keys[sparse:], []
        defaults = inputs[2 + sparse + dense :]
    if ragged_keys:
        msg = f"feature {ragged_keys[0]!r} is ragged (RaggedFeature), expected a dense one"
        raise ExportError(msg)
    count = len(sparse_keys)
    for position, key in enumerate(sparse_keys):
        yield _Parsed(
            key=key,
            dtype=attributes["sparse_types"].list.type[position],
            shape=(),
            default=None,
            tensors=[f"{node.name}:{position + count * part}" for part in range(3)],
        )
    for position, key in enumerate(dense_keys):
        shape = attributes["dense_shapes"].list.shape[position]
        yield _Parsed(
            key=key,
            dtype=attributes["Tdense"].list.type[position],
            shape=tuple(dim.size for dim in shape.dim),
            default=graph.constant(defaults[position]),
            tensors=[f"{node.name}:{3 * count + position}"],
        )


def _texts(array: Any) -> list[str]:  # noqa: ANN401  an array of bytes
    return [value.decode() for value in array.ravel().tolist()]


def _is_string(spec: TensorSpec) -> bool:
    return spec.dtype is DataType.DT_STRING
