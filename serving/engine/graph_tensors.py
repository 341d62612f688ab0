"""The tensors that a graph takes and gives, as ONNX Runtime and the file together declare them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from serving.engine import onnx_graph
from serving.errors import DataLoss, Unsupported
from serving.tensors.signature import Signature
from serving.tensors.tensor_spec import ONNX_ELEMENT_TYPES, DataType, TensorSpec

Kind = Literal["input", "output"]

# What a type that is no tensor is called, by the beginning of ONNX Runtime's name for it, and how
# to turn it into a tensor.
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
    """The specs of a graph's inputs or outputs by tensor name.

    ONNX Runtime reports the same empty shape for a scalar and for a tensor of unknown rank. The
    file is parsed to tell them apart, and only where one of them occurs.

    Args:
        kind: Which of both, for messages.
        nodes: What a session's `get_inputs` or `get_outputs` gives.
        onnx_file: The file that the session was made from.

    Raises:
        Unsupported: one is no tensor, or of an element type that no protocol here carries.
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
    # A symbolic dimension is a name, an unnamed one is None: any size goes.
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
    """A signature's inputs by alias with the shapes that the graph declares: what it takes.

    Args:
        signature: One that `check_signature` has passed.
        inputs: The graph's inputs by tensor name.
        needs_ranks: Whether the signature's rank counts where the graph declares none.
    """
    found: dict[str, TensorSpec] = {}
    for alias, spec in signature.inputs.items():
        # The server itself takes tf.Examples, a row of them, and the graph what is read from them.
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
    """Refuse a signature that promises what the graph does not have.

    Its shapes are documentation, so either side may know more than the other: a rank, or a size.

    Args:
        name: Of the signature.
        signature: The signature.
        inputs: The graph's inputs by tensor name.
        outputs: Likewise its outputs.

    Raises:
        DataLoss: a tensor is missing in the graph, or has another dtype or rank there, or an input
            has other sizes, so that the graph would refuse whatever the signature describes.
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
    """Whether no shape is both; sizes count for inputs, because graphs declare outputs loosely."""
    if spec.shape is None or tensor.shape is None:
        return False
    if len(spec.shape) != len(tensor.shape):
        return True
    pairs = zip(spec.shape, tensor.shape, strict=True)
    return sizes and any(-1 not in pair and pair[0] != pair[1] for pair in pairs)
