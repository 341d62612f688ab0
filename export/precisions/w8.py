"""`model.w8.onnx`: weights stored in 8 bits, arithmetic in float32; a quarter of the size.

Each output channel of a layer has its own scale: its largest weight divided by 127. Weights are
integer multiples of the scale; biases stay float32. Each layer has a DequantizeLinear for its
weights. The server lets ONNX Runtime compute it once, at load (`session.disable_quant_qdq`);
afterwards the graph runs like the float32 graph.

The first convolution stays float32. Its inputs are pixels, which are all positive and similar, so
the errors of its weights add up instead of cancelling out. In a ResNet50 they caused nine tenths of
the error in the logits, although the layer has only 9,408 of 19 million weights.
"""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

_LARGEST = 127  # -128 is not used, so that the range is symmetric about 0
_MATRIX = 2  # dimensions; a MatMul may have more of them, or one
_WEIGHT = 1  # position of the weights among the inputs of Conv, MatMul and Gemm


def quantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with quantised weights.

    Args:
        model: Any graph. Weights of Conv (except the first), MatMul and Gemm are quantised if they
            are float32 constants; weights of MatMul and Gemm only if they are matrices.
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
            axes.setdefault(name, axis)  # shared weights get the scales of the first layer
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
    """A float32 copy of a graph that `quantize` made, with the rounded weights as constants.

    The copy gives the answers of the quantised graph at the speed of the original float32 graph.

    Args:
        model: The quantised graph. Each DequantizeLinear of constants becomes a constant; other
            nodes are not changed.
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
    """The axis of the output channels in a layer's weights; None for other kinds of nodes."""
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
    """Quantise weights with one scale for each output channel.

    Args:
        weights: Weights of any shape.
        axis: Axis of the output channels.

    Returns:
        Integers of the same shape, and the scales, shape (channels,). The weights are about
        `integers * scales`. A channel whose weights are all 0 has scale 1.
    """
    others = tuple(position for position in range(weights.ndim) if position != axis)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    scales = np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)
    integers = np.clip(np.rint(weights / scales), -_LARGEST, _LARGEST).astype(np.int8)
    return integers, scales.reshape(-1)
