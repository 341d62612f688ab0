"""A builder of ONNX graphs that appends nodes one by one and names weights itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
MICROSOFT = "com.microsoft"
ML = "ai.onnx.ml"
_OPSETS = {"": OPSET, MICROSOFT: 1, ML: 3}
Shape = Sequence[int | str]
FLOAT, FLOAT16, INT64, UINT8 = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT64,
    TensorProto.UINT8,
)


def weights(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Normally distributed float32 weights, the same for the same seed."""
    values = np.random.default_rng(seed).normal(scale=scale, size=shape)
    return values.astype(np.float32)


class Graph:
    """An ONNX graph that is written as `<models_dir>/<name>/1/model.onnx`."""

    def __init__(self, **inputs: tuple[int, Shape]) -> None:
        """Start a graph with inputs, given as element type and shape by name."""
        self._inputs = inputs
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def weight(self, value: Any) -> str:
        """Add a constant and return its name; Python floats become float32, integers int64."""
        array = np.asarray(value)
        if not isinstance(value, np.ndarray | np.generic) and array.dtype.kind == "f":
            array = array.astype(np.float32)
        name = f"weight{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def outputs_of(
        self, op: str, *inputs: object, outputs: Sequence[str], **attributes: Any
    ) -> None:
        """Append a node with named outputs; inputs that are no names become constants."""
        names = [value if isinstance(value, str) else self.weight(value) for value in inputs]
        self._nodes.append(helper.make_node(op, names, list(outputs), **attributes))

    def op(self, op: str, *inputs: object, into: str = "", **attributes: Any) -> str:
        """Append a node with one output, and give the output's name."""
        name = into or f"{op.lower()}{len(self._nodes)}"
        self.outputs_of(op, *inputs, outputs=[name], **attributes)
        return name

    def dense(self, x: str, seed: int, rows: int, columns: int, scale: float = 0.5) -> str:
        """Append `x · weights + bias` with seeded weights; return the output's name."""
        product = self.op("MatMul", x, weights(seed, rows, columns, scale=scale))
        return self.op("Add", product, weights(seed + 1000, columns, scale=0.1))

    def save(self, models_dir: Path, name: str, **outputs: tuple[int, Shape]) -> Path:
        """Check the graph, write it as version 1 of a model, and give the version's folder."""
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(key, *spec) for key, spec in self._inputs.items()],
            [helper.make_tensor_value_info(key, *spec) for key, spec in outputs.items()],
            initializer=self._weights,
        )
        domains = {node.domain for node in self._nodes} | {""}
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(domain, _OPSETS[domain]) for domain in domains],
            ir_version=9,
        )
        onnx.checker.check_model(model, full_check=True)
        path = models_dir / name / "1"
        path.mkdir(parents=True)
        onnx.save(model, path / "model.onnx")
        return path
