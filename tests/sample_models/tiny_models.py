"""Tiny real ONNX models for tests, each written as `<models_dir>/<name>/<version>/`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.repository import publishing
from serving.tensors.signature import DataType, Signature, TensorSpec

OPSET = 17
CLASS_NAMES = ("dark", "bright")


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[onnx.TensorProto] = (),
    *,
    checked: bool = True,
) -> None:
    """Check a graph and write it to a file; the checker refuses tensors without a shape."""
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializer=initializers)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    if checked:
        onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def identity(models_dir: Path, name: str = "identity", version: int = 1) -> Path:
    """`y = x`, float32 (batch, 3); only an ONNX file, without signature.json."""
    path = models_dir / name / str(version)
    save(
        path / "model.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
    )
    return path


def add(models_dir: Path, name: str = "add", version: int = 1) -> Path:
    """`sum = a + b` and `difference = a - b`, int64 (batch,): two inputs, two outputs."""
    path = models_dir / name / str(version)
    save(
        path / "model.onnx",
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Sub", ["a", "b"], ["difference"]),
        ],
        [
            helper.make_tensor_value_info(alias, TensorProto.INT64, ["batch"])
            for alias in ("a", "b")
        ],
        [
            helper.make_tensor_value_info(alias, TensorProto.INT64, ["batch"])
            for alias in ("sum", "difference")
        ],
    )
    return path


def lookup(models_dir: Path, name: str = "lookup", version: int = 1) -> Path:
    """`y = table[index]`, int64 (batch,) to float32 (batch,): refuses an index over 2."""
    path = models_dir / name / str(version)
    save(
        path / "model.onnx",
        [helper.make_node("Gather", ["table", "index"], ["y"])],
        [helper.make_tensor_value_info("index", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("table", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])],
    )
    return path


def fragile(models_dir: Path, name: str = "fragile", version: int = 1) -> Path:
    """Reshapes three numbers to `shape`, int64 (1,); fails at run time on [2], for example."""
    path = models_dir / name / str(version)
    save(
        path / "model.onnx",
        [helper.make_node("Reshape", ["table", "shape"], ["y"])],
        [helper.make_tensor_value_info("shape", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor("table", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])],
    )
    return path


def brightness(
    models_dir: Path, name: str = "brightness", class_names: tuple[str, ...] = CLASS_NAMES
) -> Path:
    """A classifier of dark and bright images with the bundled classifiers' signature.

    Input `images` uint8 (batch, 32, 32, 3); outputs `probabilities` float32 (batch, 2) and
    `classes` int64 (batch,). Published with signature.json and a manifest.
    """

    def write(path: Path) -> None:
        save(
            path / "model.onnx",
            [
                helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
                helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
                helper.make_node("Div", ["mean", "white"], ["bright"]),
                helper.make_node("Sub", ["one", "bright"], ["dark"]),
                helper.make_node("Unsqueeze", ["dark", "axis"], ["dark_column"]),
                helper.make_node("Unsqueeze", ["bright", "axis"], ["bright_column"]),
                helper.make_node(
                    "Concat", ["dark_column", "bright_column"], ["probabilities"], axis=1
                ),
                helper.make_node("ArgMax", ["probabilities"], ["classes"], axis=1, keepdims=0),
            ],
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 32, 32, 3])],
            [
                helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2]),
                helper.make_tensor_value_info("classes", TensorProto.INT64, ["batch"]),
            ],
            [
                helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
                helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
                helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
            ],
        )
        signature = Signature(
            method_name="tensorflow/serving/predict",
            file="model.onnx",
            inputs={
                "images": TensorSpec(
                    dtype=DataType.DT_UINT8,
                    shape=(-1, 32, 32, 3),
                    tensor="images",
                    graph_name="serving_default_images:0",
                )
            },
            outputs={
                "probabilities": TensorSpec(
                    dtype=DataType.DT_FLOAT,
                    shape=(-1, 2),
                    tensor="probabilities",
                    graph_name="StatefulPartitionedCall:1",
                ),
                "classes": TensorSpec(
                    dtype=DataType.DT_INT64,
                    shape=(-1,),
                    tensor="classes",
                    graph_name="StatefulPartitionedCall:0",
                ),
            },
        )
        publishing.write_signatures(path, {"serving_default": signature}, class_names=class_names)

    return publishing.publish(models_dir / name, write)


# Element types that both ONNX Runtime and the Open Inference Protocol have, by the protocol's name.
ECHO_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def echo(models_dir: Path, datatype: str, version: int = 1) -> Path:
    """`y = x`, (batch, 2), of a datatype in `ECHO_TYPES`; the model is called `echo_<datatype>`."""
    path = models_dir / f"echo_{datatype}" / str(version)
    save(
        path / "model.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", ECHO_TYPES[datatype], ["batch", 2])],
        [helper.make_tensor_value_info("y", ECHO_TYPES[datatype], ["batch", 2])],
    )
    return path


def cast(models_dir: Path, name: str = "cast", version: int = 1) -> Path:
    """`half = float16(x)` and `same = x`, float32 (batch,)."""
    path = models_dir / name / str(version)
    save(
        path / "model.onnx",
        [
            helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("Identity", ["x"], ["same"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])],
        [
            helper.make_tensor_value_info("half", TensorProto.FLOAT16, ["batch"]),
            helper.make_tensor_value_info("same", TensorProto.FLOAT, ["batch"]),
        ],
    )
    return path


SLOW_SIZE = 700
_SLOW_STEPS = 12


def slow(models_dir: Path, name: str = "slow", version: int = 1) -> Path:
    """Runs matrix products for tens of milliseconds; input and output float32 (batch, SLOW_SIZE).

    The graph computes the matrix, which keeps the file small. The matrix depends on the input, so
    it cannot be folded into a constant when the graph is loaded.
    """
    path = models_dir / name / str(version)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Transpose", ["mean"], ["column"], perm=[1, 0]),
        helper.make_node("Mul", ["column", "mean"], ["matrix"]),
    ]
    previous = "matrix"
    for step in range(_SLOW_STEPS):
        nodes.append(helper.make_node("MatMul", [previous, "matrix"], [f"product{step}"]))
        nodes.append(helper.make_node("Tanh", [f"product{step}"], [f"step{step}"]))
        previous = f"step{step}"
    nodes.append(helper.make_node("MatMul", ["x", previous], ["y"]))
    save(
        path / "model.onnx",
        nodes,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", SLOW_SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", SLOW_SIZE])],
    )
    return path


def convolution(models_dir: Path, name: str = "convolution", version: int = 1) -> Path:
    """A small network: uint8 images (batch, 32, 32, 3) to scores float32 (batch, 10)."""
    path = models_dir / name / str(version)
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(size=(16, 3, 3, 3)).astype(np.float32),
        "dense": random.normal(size=(16 * 15 * 15, 10)).astype(np.float32),
        "scale": np.float32(1 / 255),
    }
    save(
        path / "model.onnx",
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
            helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["planes", "kernel"], ["features"]),
            helper.make_node("Relu", ["features"], ["positive"]),
            helper.make_node(
                "MaxPool", ["positive"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]
            ),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "dense"], ["scores"]),
        ],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 32, 32, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(np.asarray(value), alias) for alias, value in weights.items()],
    )
    return path
