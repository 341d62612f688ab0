"""Rewrites of a float32 graph that keep its answers and suit the integer kernels."""

import numpy as np
import onnx

from export.graphs.graph import Graph, set_attribute, settings

_MATRIX = 2  # dimensions


def join_dense_layers(model: onnx.ModelProto) -> None:
    """Turn MatMul, and the Add of a bias behind it, into one Gemm, in place.

    A bias inside a Gemm is quantised to 32 bits; one that is added would get 8, like an activation.
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
    """Let the first convolution's MaxPool stand before its Relu, in place; both orders are equal.

    Where values are quantised right after the pooling, ONNX Runtime moves that before the pooling,
    and pools four times as many values in a kernel that is a good deal slower. A Relu in between
    stops it.

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
    """Let a MaxPool pad by itself what a Pad behind a Relu gives it, if it can.

    A MaxPool leaves its own padding out of its windows. Behind a Relu that is the same as zeros, as
    long as each window has a pixel in it.
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
