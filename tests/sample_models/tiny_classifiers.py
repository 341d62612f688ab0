"""Small convolutional classifiers as ONNX graphs, with the interface of the trained models."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET = 18


def model(
    nodes: list[onnx.NodeProto],
    constants: Mapping[str, np.ndarray],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """Return a checked model; its nodes are named by operator and number."""
    for number, node in enumerate(nodes):
        node.name = f"{node.op_type}_{number}"
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        outputs,
        initializer=[numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    made.producer_name = "tests"
    onnx.checker.check_model(made, full_check=True)
    return made


def classifier(seed: int = 0) -> onnx.ModelProto:
    """Return a classifier of 32x32 images into ten classes with the layers of a small ResNet.

    It has a convolution, a Pad with pooling, a residual block, a 3x3 convolution on a map of 1x1
    pixels, two dense layers, and 14,000 random weights.
    """
    random = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        fan_in = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
        return (random.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    def biases(count: int) -> np.ndarray:
        return (random.standard_normal(count) / 4).astype(np.float32)

    constants = {
        "scale": np.array(1 / 255, np.float32),
        "w1": weights(8, 3, 3, 3),
        "b1": biases(8),
        "around": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "w2": weights(8, 8, 3, 3),
        "b2": biases(8),
        "w3": weights(16, 8, 8, 8),
        "b3": biases(16),
        "w4": weights(16, 16, 3, 3),
        "b4": biases(16),
        "flat": np.array([-1, 16], np.int64),
        "w5": weights(16, 24),
        "b5": biases(24),
        "w6": weights(24, 10),
        "b6": biases(10),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w1", "b1"], ["c1"], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Pad", ["r1", "around"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["pooled"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Conv", ["pooled", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "pooled"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3", "b3"], ["c3"]),
        helper.make_node("Relu", ["c3"], ["r3"]),
        helper.make_node("Conv", ["r3", "w4", "b4"], ["c4"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c4"], ["r4"]),
        helper.make_node("Reshape", ["r4", "flat"], ["features"]),
        helper.make_node("MatMul", ["features", "w5"], ["m5"]),
        helper.make_node("Add", ["m5", "b5"], ["d5"]),
        helper.make_node("Relu", ["d5"], ["r5"]),
        helper.make_node("MatMul", ["r5", "w6"], ["m6"]),
        helper.make_node("Add", ["m6", "b6"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["classes"], axis=1, keepdims=0),
    ]
    return model(
        nodes,
        constants,
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 32, 32, 3])],
        [
            helper.make_tensor_value_info("classes", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10]),
        ],
    )


def images(count: int, seed: int = 0) -> np.ndarray:
    """Return random images, uint8 (n, 32, 32, 3), with different brightness and colour."""
    random = np.random.default_rng(seed)
    colours = random.integers(0, 160, (count, 1, 1, 3))
    return (colours + random.integers(0, 96, (count, 32, 32, 3))).astype(np.uint8)


def run(made: onnx.ModelProto, pictures: np.ndarray, output: str = "probabilities") -> np.ndarray:
    """Return an output of a model for pictures."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(made.SerializeToString(), options)
    return session.run([output], {"images": pictures})[0]
