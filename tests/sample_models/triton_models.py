"""The models that the examples of Triton's Python client call, as tiny real ONNX models.

Names, inputs and outputs are those of the models in Triton's repository. The classifiers of
pictures have three classes, the colours; the greatest value of a colour is its score.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper
from sample_models.tiny_models import save

from serving.repository import publishing
from serving.tensors.signature import DataType, Signature, TensorSpec

COLOURS = ("red", "green", "blue")
PICTURE, COLUMNS = 224, 16


def write_all(models_dir: Path) -> list[str]:
    """Write all models into a folder; return their names."""
    for write in (simple, simple_int8, simple_string, simple_identity, custom_identity_int32):
        write(models_dir)
    densenet_onnx(models_dir)
    inception_graphdef(models_dir)
    return sorted(path.name for path in models_dir.iterdir())


def simple(models_dir: Path, name: str = "simple") -> None:
    """`OUTPUT0 = INPUT0 + INPUT1` and `OUTPUT1 = INPUT0 - INPUT1`, int32 (batch, 16)."""
    _sum_and_difference(models_dir / name, TensorProto.INT32)


def simple_int8(models_dir: Path) -> None:
    """As `simple`, in int8."""
    _sum_and_difference(models_dir / "simple_int8", TensorProto.INT8)


def simple_string(models_dir: Path) -> None:
    """As `simple`, with strings of decimal digits in place of numbers."""
    _sum_and_difference(models_dir / "simple_string", TensorProto.STRING)


def simple_identity(models_dir: Path) -> None:
    """`OUTPUT0 = INPUT0`, strings (batch, 16)."""
    _identity(models_dir / "simple_identity", TensorProto.STRING)


def custom_identity_int32(models_dir: Path) -> None:
    """`OUTPUT0 = INPUT0`, int32 (batch, 16); Triton has a backend of its own for this model."""
    _identity(models_dir / "custom_identity_int32", TensorProto.INT32)


def densenet_onnx(models_dir: Path) -> None:
    """A classifier, float32: `data_0` (3, 224, 224), without a batch, to `fc6_1` (3,)."""
    _picture(
        models_dir / "densenet_onnx",
        ("data_0", [3, PICTURE, PICTURE]),
        ("fc6_1", [3]),
        axes=[1, 2],
    )


def inception_graphdef(models_dir: Path) -> None:
    """A classifier, float32: `input` (batch, 224, 224, 3) to `scores` (batch, 3)."""
    _picture(
        models_dir / "inception_graphdef",
        ("input", [-1, PICTURE, PICTURE, 3]),
        ("scores", [-1, 3]),
        axes=[1, 2],
    )


def _tensor(name: str, kind: int, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _sum_and_difference(folder: Path, kind: int) -> None:
    """Write the graph; ONNX Runtime adds int8 and strings of digits as int32."""
    inputs = ["INPUT0", "INPUT1"]
    nodes, operands = [], list(inputs)
    if kind != TensorProto.INT32:
        operands = [f"{name}_number" for name in inputs]
        nodes = [
            helper.make_node("Cast", [name], [operand], to=TensorProto.INT32)
            for name, operand in zip(inputs, operands, strict=True)
        ]
    for operator, output in (("Add", "OUTPUT0"), ("Sub", "OUTPUT1")):
        result = output if kind == TensorProto.INT32 else f"{output}_number"
        nodes.append(helper.make_node(operator, operands, [result]))
        if result != output:
            nodes.append(helper.make_node("Cast", [result], [output], to=kind))
    shape = ["batch", COLUMNS]
    save(
        folder / "1" / "model.onnx",
        nodes,
        [_tensor(name, kind, shape) for name in inputs],
        [_tensor(name, kind, shape) for name in ("OUTPUT0", "OUTPUT1")],
    )


def _identity(folder: Path, kind: int) -> None:
    save(
        folder / "1" / "model.onnx",
        [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])],
        [_tensor("INPUT0", kind, ["batch", COLUMNS])],
        [_tensor("OUTPUT0", kind, ["batch", COLUMNS])],
    )


def _picture(
    folder: Path,
    taken: tuple[str, list[int]],
    given: tuple[str, list[int]],
    *,
    axes: Sequence[int],
) -> None:
    def write(path: Path) -> None:
        infos = [
            _tensor(name, TensorProto.FLOAT, ["batch" if size < 0 else size for size in shape])
            for name, shape in (taken, given)
        ]
        most = helper.make_node("ReduceMax", [taken[0]], [given[0]], axes=axes, keepdims=0)
        save(path / "model.onnx", [most], infos[:1], infos[1:])
        specs = {
            name: TensorSpec(
                dtype=DataType.DT_FLOAT, shape=tuple(shape), tensor=name, graph_name=f"{name}:0"
            )
            for name, shape in (taken, given)
        }
        signature = Signature(
            method_name="tensorflow/serving/predict",
            file="model.onnx",
            inputs={taken[0]: specs[taken[0]]},
            outputs={given[0]: specs[given[0]]},
        )
        publishing.write_signatures(path, {"serving_default": signature}, class_names=COLOURS)

    publishing.publish(folder, write)
