"""Specs of a graph's inputs and outputs, from ONNX Runtime and from the ONNX file itself."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from serving.engine import onnx_graph
from serving.errors import DataLoss, Unsupported
from serving.tensors.signature import Signature
from serving.tensors.tensor_spec import ONNX_ELEMENT_TYPES, DataType, TensorSpec

Kind = Literal["input", "output"]

# Types that are not tensors: the prefix of ONNX Runtime's name for the type, the name in messages,
# and the way to turn the type into a tensor.
_NO_TENSORS = (
    (
        "seq(map(",
        "a sequence of maps (the ZipMap that skl2onnx and onnxmltools put behind a classifier)",
        'convert the model again with options={"zipmap": False}, in onnxmltools with zipmap=False',
    ),
    (
        "seq(",
        "a sequence",
        "put ConcatFromSequence behind such an output, SplitToSequence before such an input",
    ),
    ("map(", "a map", "give its keys and its values as two tensors, or leave the Map node out"),
    (
        "optional(",
        "optional",
        "take out the optional in the graph (OptionalGetElement), or export the model without it",
    ),
    ("sparse_tensor(", "a sparse tensor", "export the model with a dense one"),
)


def specs(kind: Kind, nodes: Iterable[Any], onnx_file: Path) -> dict[str, TensorSpec]:
    """Return the specs of a graph's inputs or outputs by tensor name.

    ONNX Runtime reports the same empty shape for a scalar and for a tensor of unknown rank. If a
    shape is empty, the file is parsed to tell them apart.

    Args:
        kind: "input" or "output", for error messages.
        nodes: Result of the session's `get_inputs` or `get_outputs`.
        onnx_file: The file that the session was made from.

    Raises:
        Unsupported: a node is not a tensor, or has an element type that the server's protocols
            cannot carry.
        DataLoss, OSError: see `onnx_graph.read`.
    """
    nodes = list(nodes)
    data_types = {node.name: _data_type(kind, node, onnx_file) for node in nodes}
    unknown: frozenset[str] = frozenset()
    if any(not node.shape for node in nodes):
        unknown = onnx_graph.unknown_ranks(onnx_graph.read(onnx_file))
    return {
        node.name: TensorSpec(
            dtype=data_types[node.name],
            shape=None if not node.shape and node.name in unknown else _shape(node),
            tensor=node.name,
            graph_name=node.name,
        )
        for node in nodes
    }


def _shape(node: Any) -> tuple[int, ...]:  # noqa: ANN401 - onnxruntime.NodeArg has no types
    # ONNX Runtime reports a free dimension as its name, or as None if it has no name.
    return tuple(size if isinstance(size, int) else -1 for size in node.shape)


def _data_type(kind: Kind, node: Any, onnx_file: Path) -> DataType:  # noqa: ANN401 - see `_shape`
    data_type = DataType.from_onnx(node.type)
    if data_type is not None:
        return data_type
    known = ", ".join(ONNX_ELEMENT_TYPES)
    for beginning, what, way_out in _NO_TENSORS:
        if node.type.startswith(beginning):
            msg = (
                f'{kind} "{node.name}" of {onnx_file} is {what}: {node.type}, expected a tensor of '
                f"{known}; {way_out}"
            )
            raise Unsupported(msg)
    where = "behind the input" if kind == "input" else "before the output"
    msg = (
        f'{kind} "{node.name}" of {onnx_file} is {node.type}, expected a tensor of {known}; put a '
        f"Cast {where} in the graph"
    )
    raise Unsupported(msg)


def declared(
    signature: Signature, inputs: Mapping[str, TensorSpec], *, needs_ranks: bool = False
) -> dict[str, TensorSpec]:
    """Return the specs of a signature's inputs by alias, with the shapes that the graph declares.

    Args:
        signature: A signature that `check_signature` has accepted.
        inputs: The graph's inputs by tensor name.
        needs_ranks: If true and the graph declares no rank for an input, the rank comes from the
            signature.
    """
    found: dict[str, TensorSpec] = {}
    for alias, spec in signature.inputs.items():
        # The server parses tf.Examples, which arrive as a vector; the graph has no such input.
        shape = (-1,) if alias == signature.example_input else inputs[spec.tensor].shape
        if shape is None and spec.shape is not None and needs_ranks:
            shape = (-1,) * len(spec.shape)
        found[alias] = spec if shape == spec.shape else replace(spec, shape=shape)
    return found


def check_signature(
    name: str,
    signature: Signature,
    inputs: Mapping[str, TensorSpec],
    outputs: Mapping[str, TensorSpec],
) -> None:
    """Raise DataLoss if a signature does not fit the graph.

    The signature's shapes are documentation: a rank or a size may be declared by the signature
    alone, or by the graph alone.

    Args:
        name: Name of the signature.
        signature: The signature.
        inputs: The graph's inputs by tensor name.
        outputs: The graph's outputs by tensor name.

    Raises:
        DataLoss: the graph lacks a tensor of the signature, or has it with another dtype or rank,
            or an input has other sizes in the graph, which would refuse every request that matches
            the signature.
    """
    computed = {alias: spec for alias, spec in signature.outputs.items() if not spec.constant}
    for kind, specs, tensors in (
        ("input", signature.model_inputs, inputs),
        ("output", computed, outputs),
    ):
        for alias, spec in specs.items():
            tensor = tensors.get(spec.tensor)
            if tensor is None:
                msg = (
                    f'{kind} "{alias}" of signature {name} is tensor {spec.tensor!r}, which '
                    f"{signature.file} does not have; it has {', '.join(sorted(tensors))}"
                )
                raise DataLoss(msg)
            if tensor.dtype is not spec.dtype or _contradict(spec, tensor, sizes=kind == "input"):
                msg = (
                    f'{kind} "{alias}" of signature {name} is {spec.dtype.name} {spec.shape}, but '
                    f"{tensor.dtype.name} {tensor.shape} in {signature.file}; export it again"
                )
                raise DataLoss(msg)


def _contradict(spec: TensorSpec, tensor: TensorSpec, *, sizes: bool) -> bool:
    """Return whether no shape fits both specs.

    Args:
        spec: Spec of the signature.
        tensor: Spec of the graph.
        sizes: Whether to compare sizes and not only ranks. False for outputs, because the sizes
            that graphs declare for outputs are not reliable.
    """
    if spec.shape is None or tensor.shape is None:
        return False
    if len(spec.shape) != len(tensor.shape):
        return True
    pairs = zip(spec.shape, tensor.shape, strict=True)
    return sizes and any(-1 not in pair and pair[0] != pair[1] for pair in pairs)
