"""Tiny real ONNX models of arithmetic, each published with signature.json and manifest."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from sample_models.tiny_models import save

from serving.repository import model_folder, publishing
from serving.repository.model_folder import Precision
from serving.tensors.signature import DataType, Signature, TensorSpec


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
