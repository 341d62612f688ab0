"""Models that take very long for a few bytes of input, and the folders that the rows serve."""

from collections.abc import Sequence
from pathlib import Path

import example_models
import independent_models
import numpy as np
import tiny_models
from onnx import TensorProto, helper, numpy_helper

WIDE_COLUMNS = 30_000


def endless(models_dir: Path) -> Path:
    """`y` = how often the Loop has run, of `trips` int64 (1,): 2^62 of them take centuries."""
    path = models_dir / "endless" / "1"
    scalar, number = TensorProto.BOOL, TensorProto.INT64
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("Add", ["count", "one_more"], ["counted"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("trip", number, []),
            helper.make_tensor_value_info("go_on", scalar, []),
            helper.make_tensor_value_info("count", number, [1]),
        ],
        [
            helper.make_tensor_value_info("still", scalar, []),
            helper.make_tensor_value_info("counted", number, [1]),
        ],
        initializer=[helper.make_tensor("one_more", number, [1], [1])],
    )
    tiny_models.save(
        path / "model.onnx",
        [
            helper.make_node("Squeeze", ["trips", "axis"], ["most"]),
            helper.make_node("Loop", ["most", "", "zero"], ["y"], body=body),
        ],
        [helper.make_tensor_value_info("trips", number, [1])],
        [helper.make_tensor_value_info("y", number, [1])],
        [
            helper.make_tensor("axis", number, [1], [0]),
            helper.make_tensor("zero", number, [1], [0]),
        ],
    )
    return path


def wide(models_dir: Path) -> Path:
    """`y` = `x` 30,000 times, float32 (batch, 1) to (batch, 30000): a short row, a long answer."""
    path = models_dir / "wide" / "1"
    tiny_models.save(
        path / "model.onnx",
        [helper.make_node("MatMul", ["x", "ones"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", WIDE_COLUMNS])],
        [numpy_helper.from_array(np.ones((1, WIDE_COLUMNS), np.float32), "ones")],
    )
    return path


def long(models_dir: Path) -> Path:
    """`y` = the sum of one product of two int64 matrices of `size` int64 (1,): one long node."""
    path = models_dir / "long" / "1"
    tiny_models.save(
        path / "model.onnx",
        [
            helper.make_node("Concat", ["size", "size"], ["shape"], axis=0),
            helper.make_node("Expand", ["size", "shape"], ["matrix"]),
            helper.make_node("MatMul", ["matrix", "matrix"], ["product"]),
            helper.make_node("ReduceSum", ["product"], ["y"], keepdims=0),
        ],
        [helper.make_tensor_value_info("size", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [])],
    )
    return path


BUILDERS = {
    "endless": endless,
    "fragile": tiny_models.fragile,
    "identity": tiny_models.identity,
    "long": long,
    "mlp": independent_models.mlp,
    "pictures": example_models.pictures,
    "slow": tiny_models.slow,
    "wide": wide,
}


def write(models_dir: Path, names: Sequence[str]) -> Path:
    """Write these models into a new folder of models."""
    models_dir.mkdir()
    for name in names:
        BUILDERS[name](models_dir)
    return models_dir
