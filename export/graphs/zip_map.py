"""Remove ZipMap, the node that skl2onnx and onnxmltools add after a classifier.

ZipMap turns a matrix of probabilities into a list of dictionaries, which the server's protocols
cannot carry. Without ZipMap the output is the matrix, and the labels become class names.
"""

from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper, shape_inference

_DOMAIN = "ai.onnx.ml"


@dataclass(frozen=True)
class CutZipMap:
    """A ZipMap that was removed.

    Attributes:
        output: Name of the graph's output that the ZipMap made.
        tensor: Name of the tensor that is an output instead.
        labels: The keys of the dictionaries, as text, in the order of the columns.
    """

    output: str
    tensor: str
    labels: tuple[str, ...]


def cut(model: onnx.ModelProto) -> list[CutZipMap]:
    """Remove every ZipMap that makes an output of the graph.

    Args:
        model: The model; changed in place. Its weights may be in external files.
    """
    graph = model.graph
    outputs = {info.name for info in graph.output}
    made = [
        node
        for node in graph.node
        if node.op_type == "ZipMap" and node.domain == _DOMAIN and node.output[0] in outputs
    ]
    shapes = _shapes(model) if made else {}
    cuts = [CutZipMap(node.output[0], node.input[0], _labels(node)) for node in made]
    for node, each in zip(made, cuts, strict=True):
        info = next(info for info in graph.output if info.name == each.output)
        if each.tensor in {other.name for other in graph.output}:
            graph.output.remove(info)
        else:
            shape = shapes.get(each.tensor, ["batch", len(each.labels)])
            info.CopyFrom(helper.make_tensor_value_info(each.tensor, TensorProto.FLOAT, shape))
        if not any(each.output in other.input for other in graph.node):
            graph.node.remove(node)
    return cuts


def _labels(node: onnx.NodeProto) -> tuple[str, ...]:
    values = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if strings := values.get("classlabels_strings"):
        return tuple(label.decode() for label in strings)
    return tuple(str(label) for label in values.get("classlabels_int64s", ()))


def _shapes(model: onnx.ModelProto) -> dict[str, list[int | str | None]]:
    """Shapes of the inner tensors whose shape is declared or can be inferred, by name."""
    inferred = shape_inference.infer_shapes(model)
    return {
        info.name: [
            size.dim_value if size.HasField("dim_value") else (size.dim_param or None)
            for size in info.type.tensor_type.shape.dim
        ]
        for info in (*inferred.graph.value_info, *model.graph.value_info)
        if info.type.tensor_type.HasField("shape")
    }
