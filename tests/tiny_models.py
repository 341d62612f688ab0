"""Tiny real ONNX models for tests, each written as `<models_dir>/<name>/<version>/`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.repository import model_folder, publishing
from serving.repository.model_folder import Precision
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


def brightness(models_dir: Path, name: str = "brightness") -> Path:
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
        publishing.write_signatures(path, {"serving_default": signature}, class_names=CLASS_NAMES)

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


def half_plus_two(
    models_dir: Path,
    name: str = "half_plus_two",
    *,
    declared: Sequence[int | str] | None = None,
    defaults: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Publish `y = x / 2 + 2`, float32 (batch, 1) by its signature.

    Args:
        models_dir: Models folder.
        name: Name of the model.
        declared: Shape of x in the graph; None declares no rank.
        defaults: Default of x, by alias.
    """

    def write(path: Path) -> None:
        save(
            path / "model.onnx",
            [
                helper.make_node("Mul", ["x", "half"], ["halved"]),
                helper.make_node("Add", ["halved", "two"], ["y"]),
            ],
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, declared)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, declared)],
            [
                helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
                helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]),
            ],
            checked=declared is not None,
        )
        specs = {
            alias: TensorSpec(
                dtype=DataType.DT_FLOAT, shape=(-1, 1), tensor=alias, graph_name=f"{alias}:0"
            )
            for alias in ("x", "y")
        }
        signature = Signature(
            method_name="tensorflow/serving/predict",
            file="model.onnx",
            inputs={"x": specs["x"]},
            outputs={"y": specs["y"]},
            defaults=defaults or {},
        )
        publishing.write_signatures(path, {"serving_default": signature})

    return publishing.publish(models_dir / name, write)


def shares(models_dir: Path, name: str = "shares") -> Path:
    """Publish each number's share of the sum along the last axis, float32 (batch, 3).

    The shape is that of the signature; the graph declares no rank. Rows of a matrix are
    independent of each other, the numbers of a vector are not.
    """

    def write(path: Path) -> None:
        save(
            path / "model.onnx",
            [
                helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=1),
                helper.make_node("Div", ["x", "sum"], ["y"]),
            ],
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [helper.make_tensor("axes", TensorProto.INT64, [1], [-1])],
            checked=False,
        )
        specs = {
            alias: TensorSpec(
                dtype=DataType.DT_FLOAT, shape=(-1, 3), tensor=alias, graph_name=f"{alias}:0"
            )
            for alias in ("x", "y")
        }
        signature = Signature(
            method_name="tensorflow/serving/predict",
            file="model.onnx",
            inputs={"x": specs["x"]},
            outputs={"y": specs["y"]},
        )
        publishing.write_signatures(path, {"serving_default": signature})

    return publishing.publish(models_dir / name, write)


def weighted(models_dir: Path, name: str = "weighted") -> Path:
    """Publish `y = x * factor + offset`, float32 (batch, 2); the graph declares no rank.

    A request may omit `factor`, by default one row (10, 100), and `offset`, one row of zeros.
    """

    def spec(alias: str, dtype: DataType = DataType.DT_FLOAT) -> TensorSpec:
        return TensorSpec(dtype=dtype, shape=(-1, 2), tensor=alias, graph_name=f"{alias}:0")

    def write(path: Path) -> None:
        save(
            path / "model.onnx",
            [
                helper.make_node("Mul", ["x", "factor"], ["product"]),
                helper.make_node("Add", ["product", "offset"], ["y"]),
            ],
            [
                helper.make_tensor_value_info(alias, TensorProto.FLOAT, None)
                for alias in ("x", "factor", "offset")
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            checked=False,
        )
        signature = Signature(
            method_name="tensorflow/serving/predict",
            file="model.onnx",
            inputs={alias: spec(alias) for alias in ("x", "factor", "offset")},
            outputs={"y": spec("y")},
            defaults={
                "factor": np.array([[10, 100]], np.float32),
                "offset": np.zeros((1, 2), np.float32),
            },
        )
        publishing.write_signatures(path, {"serving_default": signature})

    return publishing.publish(models_dir / name, write)


def calculator(models_dir: Path) -> Path:
    """Publish signatures of int64 (batch,): `serving_default` is y = 2x, `square` is y = x * x.

    Each call publishes the next version.
    """

    def spec(tensor: str) -> TensorSpec:
        return TensorSpec(dtype=DataType.DT_INT64, shape=(-1,), tensor=tensor, graph_name=tensor)

    def write(path: Path) -> None:
        save(
            path / "model.onnx",
            [
                helper.make_node("Add", ["x", "x"], ["twice"]),
                helper.make_node("Mul", ["x", "x"], ["squared"]),
            ],
            [helper.make_tensor_value_info("x", TensorProto.INT64, ["batch"])],
            [
                helper.make_tensor_value_info(tensor, TensorProto.INT64, ["batch"])
                for tensor in ("twice", "squared")
            ],
        )
        signatures = {
            name: Signature(
                method_name="tensorflow/serving/predict",
                file="model.onnx",
                inputs={"x": spec("x")},
                outputs={"y": spec(tensor)},
            )
            for name, tensor in (("serving_default", "twice"), ("square", "squared"))
        }
        publishing.write_signatures(path, signatures)

    return publishing.publish(models_dir / "calculator", write)


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


# Answers of `variants` to a row of ones by precision; they differ, which shows the graph that ran.
VARIANT_ANSWERS = {"fp32": 0.9, "fp16": 0.9001465, "w8": 0.75, "int8": 1.5}


def variants(models_dir: Path, precisions: Sequence[Precision], name: str = "variants") -> Path:
    """Publish `y = x · weights`, float32 (batch, 3) to (batch, 1), in several precisions.

    signature.json names `model.onnx` even if fp32 is not one of the precisions.
    """

    def write(path: Path) -> None:
        for precision in precisions:
            _save_variant(path / model_folder.variant_file("model.onnx", precision), precision)
        tensors = {
            "x": TensorSpec(dtype=DataType.DT_FLOAT, shape=(-1, 3), tensor="x", graph_name="x:0"),
            "y": TensorSpec(dtype=DataType.DT_FLOAT, shape=(-1, 1), tensor="y", graph_name="y:0"),
        }
        signature = Signature(
            method_name="tensorflow/serving/predict",
            file="model.onnx",
            inputs={"x": tensors["x"]},
            outputs={"y": tensors["y"]},
        )
        publishing.write_signatures(path, {"serving_default": signature})

    return publishing.publish(models_dir / name, write)


def _save_variant(file: Path, precision: Precision) -> None:
    """Write the graph in one precision; w8 and int8 have quantization nodes, as exports do."""
    weights = np.full((3, 1), 0.3, np.float32)
    scales = {"w8": 0.25, "int8": 0.5}
    if precision == "fp32":
        nodes = [helper.make_node("MatMul", ["x", "weights"], ["y"])]
        values = {"weights": weights}
    elif precision == "fp16":
        nodes = [
            helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("MatMul", ["half", "weights"], ["product"]),
            helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT),
        ]
        values = {"weights": weights.astype(np.float16)}
    else:
        source = "x" if precision == "w8" else "rounded"
        nodes = [
            helper.make_node("DequantizeLinear", ["weights", "scale", "zero"], ["floats"]),
            helper.make_node("MatMul", [source, "floats"], ["y"]),
        ]
        if precision == "int8":
            nodes[:0] = [
                helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["bytes"]),
                helper.make_node("DequantizeLinear", ["bytes", "scale", "zero"], ["rounded"]),
            ]
        values = {
            "weights": np.ones((3, 1), np.int8),
            "scale": np.float32(scales[precision]),
            "zero": np.int8(0),
        }
    save(
        file,
        nodes,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.asarray(value), alias) for alias, value in values.items()],
    )
