"""Models whose run time the caller chooses, to test how runs are ended."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOREVER = 1 << 62


def loop(models_dir: Path, name: str = "loop", version: int = 1) -> Path:
    """Counts up to its input `trips`, int64 (1,), one trip of an ONNX Loop at a time."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Add", ["count", "one"], ["counted"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("count", TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("counted", TensorProto.INT64, [1]),
        ],
        [numpy_helper.from_array(np.array([1], np.int64), "one")],
    )
    return _save(
        models_dir / name / str(version),
        [
            helper.make_node("Squeeze", ["trips"], ["most"]),
            helper.make_node("Loop", ["most", "", "zero"], ["count"], body=body),
        ],
        "trips",
        helper.make_tensor_value_info("count", TensorProto.INT64, [1]),
        {"zero": np.array([0], np.int64)},
    )


def product(models_dir: Path, name: str = "product", version: int = 1) -> Path:
    """Multiplies two matrices of ones in a single node; its input `size` is int64 (1,)."""
    return _save(
        models_dir / name / str(version),
        [
            helper.make_node("Concat", ["size", "size"], ["shape"], axis=0),
            helper.make_node(
                "ConstantOfShape",
                ["shape"],
                ["ones"],
                value=numpy_helper.from_array(np.ones(1, np.float32)),
            ),
            helper.make_node("MatMul", ["ones", "ones"], ["product"]),
            helper.make_node("ReduceMax", ["product"], ["largest"], keepdims=0),
        ],
        "size",
        helper.make_tensor_value_info("largest", TensorProto.FLOAT, []),
        {},
    )


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    input_name: str,
    output: onnx.ValueInfoProto,
    constants: dict[str, np.ndarray],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "endless",
        [helper.make_tensor_value_info(input_name, TensorProto.INT64, [1])],
        [output],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    path.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path / "model.onnx")
    return path
