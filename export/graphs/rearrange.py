"""Rewrites that prepare a float32 graph for int8 kernels and do not change its answers."""

import numpy as np
import onnx

from export.graphs.graph import Graph, set_attribute, settings

_MATRIX = 2  # dimensions


def join_dense_layers(model: onnx.ModelProto) -> None:
    """Turn each MatMul, and the Add of a bias after it, into one Gemm, in place.

    The bias of a Gemm is quantised to 32 bits. A bias in an Add would be quantised to 8 bits, like
    an activation.
    """
    graph = Graph(model)
    joined: set[str] = set()
    for node in graph.nodes:
        data, weight = (*node.input, "", "")[:2]
        if node.op_type != "MatMul" or len(graph.shapes.get(data, ())) != _MATRIX:
            continue
        if weight not in graph.constants or len(graph.constants[weight].dims) != _MATRIX:
            continue
        node.op_type = "Gemm"
        add = graph.only_reader(node.output[0], "Add")
        biases = [name for name in add.input if name in graph.constants] if add else []
        if add and biases and len(graph.constants[biases[0]].dims) == 1:
            node.input.append(biases[0])
            node.output[0] = add.output[0]
            joined.add(add.name)
    graph.replace_nodes(node for node in graph.nodes if node.name not in joined)


def pool_first(model: onnx.ModelProto) -> list[str]:
    """Move the MaxPool after the first convolution before its Relu, in place; answers are equal.

    If values are quantised directly after the pooling, ONNX Runtime moves the quantisation before
    the pooling, where there are four times as many values, and pools in a much slower kernel. A
    Relu between pooling and quantisation prevents that.

    Returns:
        Names of the nodes up to the first activation, pooling included.
    """
    graph = Graph(model)
    conv = next((node for node in graph.nodes if node.op_type == "Conv"), None)
    if conv is None:
        return []
    first = graph.nodes[: graph.nodes.index(conv) + 1]
    relu = graph.only_reader(conv.output[0], "Relu")
    if relu is None:
        return [node.name for node in first]
    end = [relu]
    pad = graph.only_reader(relu.output[0], "Pad")
    pool = graph.only_reader((pad or relu).output[0], "MaxPool")
    if pool and (pad is None or _join_padding(graph, pad, pool)):
        end = [pool, relu]
        pool.input[0], relu.input[0] = conv.output[0], f"{pool.output[0]}_before_relu"
        relu.output[0], pool.output[0] = pool.output[0], relu.input[0]
        first += end
        moved = [*first, *([pad] if pad else [])]
        graph.replace_nodes([*first, *(node for node in graph.nodes if node not in moved)])
        return [node.name for node in first]
    return [node.name for node in (*first, relu)]


def _join_padding(graph: Graph, pad: onnx.NodeProto, pool: onnx.NodeProto) -> bool:
    """Move the padding of a Pad between Relu and MaxPool into the MaxPool, if possible.

    A MaxPool ignores its own padding. After a Relu that equals padding with zeros, if each window
    holds at least one pixel.

    Returns:
        Whether the MaxPool now has the padding, so that the Pad is no longer needed.
    """
    inputs, given = list(pad.input[1:]), settings(pool)
    if settings(pad).get("mode", b"constant") != b"constant" or len(inputs) > 2:
        return False
    if not set(filter(None, inputs)) <= graph.constants.keys():
        return False
    value = graph.array(inputs[1]) if len(inputs) > 1 and inputs[1] else 0
    around = graph.array(inputs[0]).reshape(2, -1)
    kernel = given["kernel_shape"]
    pads = around[:, 2:] + np.reshape(given.get("pads", np.zeros_like(around[:, 2:])), (2, -1))
    spatial_only = not around[:, :2].any() and given.get("auto_pad", b"NOTSET") == b"NOTSET"
    if value != 0 or not spatial_only or (pads < 0).any() or (pads >= kernel).any():
        return False
    set_attribute(pool, "pads", pads.reshape(-1).tolist())
    return True
