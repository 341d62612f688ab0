"""Models that do much work for a few bytes of input, and the model folders of the rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from sample_models import example_models, independent_models, tiny_models

WIDE_COLUMNS = 30_000


def endless(models_dir: Path) -> Path:
    """Write a model with a Loop; 2^62 trips take centuries.

    Input `trips`: int64 (1,), the number of trips. Output `y`: int64 (1,), the trips counted.
    """
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
    """Write a model that repeats `x` 30,000 times: a short request gets a long answer.

    Input `x`: float32 (batch, 1). Output `y`: float32 (batch, 30000).
    """
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
    """Write a model with one node that runs for long: a product of two int64 matrices.

    Input `size`: int64 (1,), rows and columns of the matrices. Output `y`: int64 (), the sum of the
    product's elements.
    """
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
    """Write the named models into a new folder of models; return the folder."""
    models_dir.mkdir()
    for name in names:
        BUILDERS[name](models_dir)
    return models_dir
