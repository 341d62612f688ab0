"""`model.w8.onnx`: weights in 8 bits, computed in float32; a quarter of the size.

Each output channel of a layer has a scale of its own, the largest weight's 127th part; weights are
whole multiples of it, biases stay float32. A DequantizeLinear stands before each layer. The server
lets ONNX Runtime compute it once, at load (`session.disable_quant_qdq`); from there on the graph
runs as the float32 one does.

The first convolution stays float32. Its inputs are pixels, all of them positive and much alike, so
that the errors of its weights add up instead of cancelling out: in a ResNet50 they made nine tenths
of the error in the logits, with 9,408 of 19 million weights.
"""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

_LARGEST = 127  # and not 128 on the negative side, so that 0 lies in the middle
_MATRIX = 2  # dimensions; a MatMul may have more of them, or one
_WEIGHT = 1  # the position of the weights among the inputs of all three


def quantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with quantised weights.

    Args:
        model: Any graph; the weights of Conv (but the first), MatMul and Gemm are quantised where
            they are float32 and constant.
    """
    quantized = onnx.ModelProto.FromString(model.SerializeToString())
    graph = quantized.graph
    weights = {
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    first = next((node for node in graph.node if node.op_type == "Conv"), None)
    if first:
        weights.pop(first.input[_WEIGHT], None)
    axes: dict[str, int] = {}
    for node in graph.node:
        axis = channel_axis(node)
        name = node.input[_WEIGHT] if axis is not None else ""
        if axis is None or name not in weights:
            continue
        if node.op_type == "Conv" or len(weights[name].dims) == _MATRIX:
            axes.setdefault(name, axis)  # weights that two layers share have the first one's scales
    nodes = []
    for name, axis in axes.items():
        integers, scales = integers_and_scales(numpy_helper.to_array(weights[name]), axis)
        names = (f"{name}_int8", f"{name}_scale")
        graph.initializer.remove(weights[name])
        graph.initializer.append(numpy_helper.from_array(integers, names[0]))
        graph.initializer.append(numpy_helper.from_array(scales, names[1]))
        nodes.append(
            helper.make_node(
                "DequantizeLinear", names, [name], name=f"{name}_dequantize", axis=axis
            )
        )
    nodes += [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(quantized, full_check=True)
    return quantized


def restore(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 copy of what `quantize` made: its weights are the rounded ones, nothing else moves.

    It answers as the quantised graph does, and takes the time of the graph that this was made from.

    Args:
        model: Each DequantizeLinear of constants is computed; others stay.
    """
    restored = onnx.ModelProto.FromString(model.SerializeToString())
    graph = restored.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or not constants.keys() >= set(node.input):
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
            continue
        integers, scales = (numpy_helper.to_array(constants[name]) for name in node.input)
        axis = next(x.i for x in node.attribute if x.name == "axis")
        shape = [-1 if position == axis else 1 for position in range(integers.ndim)]
        weights = integers.astype(np.float32) * scales.reshape(shape)
        for name in node.input:
            graph.initializer.remove(constants[name])
        graph.initializer.append(numpy_helper.from_array(weights, node.output[0]))
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(restored, full_check=True)
    return restored


def channel_axis(node: onnx.NodeProto) -> int | None:
    """Where a layer's weights have their output channels; None for nodes of other kinds."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "MatMul":
        return 1
    if node.op_type == "Gemm":
        transposed = any(x.name == "transB" and x.i for x in node.attribute)
        return 0 if transposed else 1
    return None


def integers_and_scales(
    weights: npt.NDArray[np.float32], axis: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantise weights, one scale an output channel.

    Args:
        weights: Of any shape.
        axis: That of the output channels.

    Returns:
        Integers of the same shape, and the scales, shape (channels,); the weights are about
        `integers * scales`. The scale of a channel without any weights but 0 is 1.
    """
    others = tuple(position for position in range(weights.ndim) if position != axis)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    scales = np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)
    integers = np.clip(np.rint(weights / scales), -_LARGEST, _LARGEST).astype(np.int8)
    return integers, scales.reshape(-1)
