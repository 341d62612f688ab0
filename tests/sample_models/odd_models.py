"""Bare ONNX files with one oddity each, written as `<models_dir>/<name>/1/model.onnx`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_node as node
from onnx.helper import make_tensor_value_info as tensor
from sample_models import tiny_models

ML = "ai.onnx.ml"


def save(
    models_dir: Path,
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    *initializers: onnx.TensorProto,
) -> Path:
    """Write a graph without the checks of `tiny_models.save`; return the version's folder."""
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=initializers)
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid(ML, 3)]
    path = models_dir / name / "1"
    path.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(model, path / "model.onnx")
    return path


def any_rank(models_dir: Path) -> Path:
    """`y = -x`, float32, neither with a declared shape."""
    return save(
        models_dir,
        "any_rank",
        [node("Neg", ["x"], ["y"])],
        [tensor("x", TensorProto.FLOAT, None)],
        [tensor("y", TensorProto.FLOAT, None)],
    )


def scalar(models_dir: Path) -> Path:
    """`y = -x`, float32 ()."""
    return save(
        models_dir,
        "scalar",
        [node("Neg", ["x"], ["y"])],
        [tensor("x", TensorProto.FLOAT, [])],
        [tensor("y", TensorProto.FLOAT, [])],
    )


def no_inputs(models_dir: Path) -> Path:
    """`y = [[1, 2, 3]]`, float32 (1, 3), without inputs."""
    value = numpy_helper.from_array(np.array([[1, 2, 3]], np.float32))
    return save(
        models_dir,
        "no_inputs",
        [node("Constant", [], ["y"], value=value)],
        [],
        [tensor("y", TensorProto.FLOAT, [1, 3])],
    )


def zipmap(models_dir: Path) -> Path:
    """skl2onnx's last node of a classifier: probabilities as a list of dictionaries."""
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(
            TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
    )
    return save(
        models_dir,
        "zipmap",
        [node("ZipMap", ["x"], ["y"], domain=ML, classlabels_int64s=[0, 1, 2])],
        [tensor("x", TensorProto.FLOAT, [None, 3])],
        [helper.make_value_info("y", maps)],
    )


def sequence(models_dir: Path) -> Path:
    """`y = [x]`: a sequence of tensors."""
    return save(
        models_dir,
        "sequence",
        [node("SequenceConstruct", ["x"], ["y"])],
        [tensor("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, [3])],
    )


def optional(models_dir: Path) -> Path:
    """Takes an optional tensor and returns its value."""
    wrapped = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [3]))
    return save(
        models_dir,
        "optional",
        [node("OptionalGetElement", ["x"], ["y"])],
        [helper.make_value_info("x", wrapped)],
        [tensor("y", TensorProto.FLOAT, [3])],
    )


def map_input(models_dir: Path) -> Path:
    """DictVectorizer, whose input is a dictionary."""
    counts = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.INT64, [])
    )
    return save(
        models_dir,
        "map_input",
        [node("DictVectorizer", ["x"], ["y"], domain=ML, string_vocabulary=["a", "b"])],
        [helper.make_value_info("x", counts)],
        [tensor("y", TensorProto.INT64, [1, 2])],
    )


def float8(models_dir: Path) -> Path:
    """Three floats become float8."""
    return save(
        models_dir,
        "float8",
        [node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E4M3FN)],
        [tensor("x", TensorProto.FLOAT, [3])],
        [tensor("y", TensorProto.FLOAT8E4M3FN, [3])],
    )


def external(models_dir: Path) -> Path:
    """`y = x · weights`, float32 (batch, 3) to (batch, 2), with the weights in another file."""
    weights = np.arange(6, dtype=np.float32).reshape(3, 2)
    path = save(
        models_dir,
        "external",
        [node("MatMul", ["x", "weights"], ["y"])],
        [tensor("x", TensorProto.FLOAT, ["batch", 3])],
        [tensor("y", TensorProto.FLOAT, ["batch", 2])],
        numpy_helper.from_array(weights, "weights"),
    )
    onnx.save(
        onnx.load(path / "model.onnx"),
        path / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    return path


def quotient(models_dir: Path) -> Path:
    """`y = a / b`, int64 (2,): refuses zeros."""
    return save(
        models_dir,
        "quotient",
        [node("Div", ["a", "b"], ["y"])],
        [tensor(alias, TensorProto.INT64, [2]) for alias in ("a", "b")],
        [tensor("y", TensorProto.INT64, [2])],
    )


def image_filter(models_dir: Path, kernel: int = 16) -> Path:
    """A convolution of free height and width, float32 (batch, 1, height, width)."""
    sizes = ["batch", 1, "height", "width"]
    ones = np.ones((1, 1, kernel, kernel), np.float32)
    return save(
        models_dir,
        "image_filter",
        [node("Conv", ["x", "kernel"], ["y"])],
        [tensor("x", TensorProto.FLOAT, sizes)],
        [tensor("y", TensorProto.FLOAT, ["batch", 1, "h", "w"])],
        numpy_helper.from_array(ones, "kernel"),
    )


def nothing(models_dir: Path) -> Path:
    """`y = x`, float32 (0, 3): declared empty."""
    return save(
        models_dir,
        "nothing",
        [node("Identity", ["x"], ["y"])],
        [tensor("x", TensorProto.FLOAT, [0, 3])],
        [tensor("y", TensorProto.FLOAT, [0, 3])],
    )


def total(models_dir: Path) -> Path:
    """`y = sum(x)`, float32 (n, 3) to (): its first dimension is no batch."""
    return save(
        models_dir,
        "total",
        [node("ReduceSum", ["x"], ["y"], keepdims=0)],
        [tensor("x", TensorProto.FLOAT, ["n", 3])],
        [tensor("y", TensorProto.FLOAT, [])],
    )


def mean(models_dir: Path) -> Path:
    """The mean of each row, float32 (n, m) to (n, 1)."""
    return save(
        models_dir,
        "mean",
        [node("ReduceMean", ["x", "axes"], ["y"])],
        [tensor("x", TensorProto.FLOAT, ["n", "m"])],
        [tensor("y", TensorProto.FLOAT, ["n", 1])],
        numpy_helper.from_array(np.array([1]), "axes"),
    )


def wrong_shape(models_dir: Path) -> Path:
    """`y = reshape(x, shape)` of x float32 (6,); y is declared as ("rows", 4)."""
    return save(
        models_dir,
        "wrong_shape",
        [node("Reshape", ["x", "shape"], ["y"])],
        [tensor("x", TensorProto.FLOAT, [6]), tensor("shape", TensorProto.INT64, [2])],
        [tensor("y", TensorProto.FLOAT, ["rows", 4])],
    )


def echo(models_dir: Path, datatype: str, name: str, shape: Sequence[int | str]) -> Path:
    """`y = x` of a datatype in `tiny_models.ECHO_TYPES` and a shape; called `<name>_<datatype>`."""
    data_type = tiny_models.ECHO_TYPES[datatype]
    return save(
        models_dir,
        f"{name}_{datatype}",
        [node("Identity", ["x"], ["y"])],
        [tensor("x", data_type, shape)],
        [tensor("y", data_type, shape)],
    )


def recurrent(models_dir: Path) -> Path:
    """A GRU's last state, float32 (batch, steps, 3) to (batch, 4)."""
    ones = {"w": np.ones((1, 12, 3), np.float32), "r": np.ones((1, 12, 4), np.float32)}
    return save(
        models_dir,
        "recurrent",
        [
            node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
            node("GRU", ["steps", "w", "r"], ["", "state"], hidden_size=4),
            node("Squeeze", ["state", "axes"], ["y"]),
        ],
        [tensor("x", TensorProto.FLOAT, ["batch", "steps", 3])],
        [tensor("y", TensorProto.FLOAT, ["batch", 4])],
        numpy_helper.from_array(np.array([0]), "axes"),
        *(numpy_helper.from_array(array, name) for name, array in ones.items()),
    )
