"""Tiny ONNX models with the signatures of TensorFlow Serving's tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_node as node
from onnx.helper import make_tensor_value_info as tensor

from serving.repository import publishing
from serving.tensors.feature_spec import FeatureKind, FeatureSpec
from serving.tensors.signature import (
    CLASSIFY_METHOD_NAME,
    PREDICT_METHOD_NAME,
    REGRESS_METHOD_NAME,
    DataType,
    Signature,
    TensorSpec,
)

ONNX_TYPES = {
    DataType.DT_FLOAT: TensorProto.FLOAT,
    DataType.DT_DOUBLE: TensorProto.DOUBLE,
    DataType.DT_HALF: TensorProto.FLOAT16,
    DataType.DT_INT8: TensorProto.INT8,
    DataType.DT_INT16: TensorProto.INT16,
    DataType.DT_INT32: TensorProto.INT32,
    DataType.DT_INT64: TensorProto.INT64,
    DataType.DT_UINT8: TensorProto.UINT8,
    DataType.DT_UINT16: TensorProto.UINT16,
    DataType.DT_UINT32: TensorProto.UINT32,
    DataType.DT_UINT64: TensorProto.UINT64,
    DataType.DT_BOOL: TensorProto.BOOL,
    DataType.DT_STRING: TensorProto.STRING,
}
# A name with every character that a URL reserves, from http_rest_api_util_test.cc.
RESERVED = "!#$%&'()*+,/:;=?@[]"


def spec(
    dtype: DataType, shape: tuple[int, ...] | None, name: str, graph_name: str = ""
) -> TensorSpec:
    """Return the spec of a tensor called `name` in the ONNX graph."""
    return TensorSpec(dtype=dtype, shape=shape, tensor=name, graph_name=graph_name or f"{name}:0")


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, DataType],
    outputs: Mapping[str, DataType],
    **constants: np.ndarray,
) -> onnx.ModelProto:
    """Return a graph that takes its inputs in any shape, as TensorFlow's graphs do."""
    made = helper.make_graph(
        nodes,
        "tiny",
        [tensor(name, ONNX_TYPES[dtype], None) for name, dtype in inputs.items()],
        [tensor(name, ONNX_TYPES[dtype], None) for name, dtype in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def publish(
    models_dir: Path,
    name: str,
    files: Mapping[str, onnx.ModelProto],
    signatures: Mapping[str, Signature],
    version: int = 123,
) -> None:
    """Write a version of a model with signature.json and manifest."""

    def write(path: Path) -> None:
        for file, model in files.items():
            onnx.save(model, path / file)
        publishing.write_signatures(path, signatures)

    made = publishing.publish(models_dir / name, write)
    made.rename(made.with_name(str(version)))


def half_plus_two(models_dir: Path, name: str, *versions: int, plus: float = 2) -> None:
    """Write `y = x / 2 + 2` with the signatures of saved_model_half_plus_two.py.

    Args:
        models_dir: The folder of models.
        name: The model's folder.
        versions: Its version numbers.
        plus: The number added instead of 2; `y2` and `y3` get 1 more.
    """
    number = DataType.DT_FLOAT
    names = {"x": "y", "x2": "y3"}
    files = {}
    for source, wanted in (("x", {"y": plus, "y2": plus + 1}), ("x2", {"y3": plus + 1})):
        nodes = [node("Mul", [source, "half"], ["product"])]
        nodes += [node("Add", ["product", f"plus_{y}"], [y]) for y in wanted]
        files[f"{source}.onnx"] = graph(
            nodes,
            {source: number},
            dict.fromkeys(wanted, number),
            half=np.float32(0.5),
            **{f"plus_{y}": np.float32(added) for y, added in wanted.items()},
        )

    def column(tensor_name: str) -> TensorSpec:
        return spec(number, (-1, 1), tensor_name)

    examples = spec(DataType.DT_STRING, (-1,), "", "tf_example:0")
    features = {
        "x": FeatureSpec(tensor=column("x"), key="x"),
        "x2": FeatureSpec(tensor=spec(number, (-1, 1), ""), key="x2", default=(0.0,)),
    }

    def of_examples(method_name: str, alias: str, output: str) -> Signature:
        return Signature(
            method_name=method_name,
            file="x.onnx",
            inputs={"inputs": examples},
            outputs={alias: column(output)},
            feature_spec=features,
        )

    def of_tensor(method_name: str, source: str, input_alias: str, alias: str) -> Signature:
        return Signature(
            method_name=method_name,
            file=f"{source}.onnx",
            inputs={input_alias: column(source)},
            outputs={alias: column(names[source])},
        )

    signatures = {
        "serving_default": of_tensor(PREDICT_METHOD_NAME, "x", "x", "y"),
        "regress_x_to_y": of_examples(REGRESS_METHOD_NAME, "outputs", "y"),
        "regress_x_to_y2": of_examples(REGRESS_METHOD_NAME, "outputs", "y2"),
        "regress_x2_to_y3": of_tensor(REGRESS_METHOD_NAME, "x2", "inputs", "outputs"),
        "classify_x_to_y": of_examples(CLASSIFY_METHOD_NAME, "scores", "y"),
        "classify_x2_to_y3": of_tensor(CLASSIFY_METHOD_NAME, "x2", "inputs", "scores"),
    }
    for version in versions:
        publish(models_dir, name, files, signatures, version)


def counter(models_dir: Path) -> None:
    """Write the signatures of saved_model_counter.

    A graph has no state here, so each value is the one that the test expects: `get_counter` and
    `reset_counter` give 0, `incr_counter` 1, `incr_counter_by` 1 plus `delta`.
    """
    number, output = DataType.DT_FLOAT, spec(DataType.DT_FLOAT, (), "output")
    add = node("Add", ["delta", "one"], ["output"])
    files = {
        "by.onnx": graph([add], {"delta": number}, {"output": number}, one=np.float32(1)),
        **{
            f"{value}.onnx": graph(
                [node("Constant", [], ["output"], value_float=float(value))], {}, {"output": number}
            )
            for value in (0, 1)
        },
    }
    chosen = {"get_counter": "0.onnx", "incr_counter": "1.onnx", "reset_counter": "0.onnx"}
    signatures = {
        name: Signature(
            method_name=PREDICT_METHOD_NAME, file=file, inputs={}, outputs={"output": output}
        )
        for name, file in chosen.items()
    }
    signatures["incr_counter_by"] = Signature(
        method_name=PREDICT_METHOD_NAME,
        file="by.onnx",
        inputs={"delta": spec(number, (), "delta")},
        outputs={"output": output},
    )
    publish(models_dir, "counter", files, signatures)


def echo(
    models_dir: Path,
    name: str,
    inputs: Mapping[str, DataType],
    *,
    outputs: Mapping[str, str] | None = None,
    signature_names: Sequence[str] = ("serving_default",),
    method_name: str = PREDICT_METHOD_NAME,
) -> None:
    """Write a model whose outputs are its inputs, in any shape.

    Args:
        models_dir: The folder of models.
        name: The model's name.
        inputs: The element type of each input.
        outputs: The input that each output copies; None: the input of the same name.
        signature_names: The names of its signatures.
        method_name: The method name of its signatures.
    """
    outputs = outputs or {alias: alias for alias in inputs}
    model = graph(
        [node("Identity", [source], [f"{alias}_out"]) for alias, source in outputs.items()],
        inputs,
        {f"{alias}_out": inputs[source] for alias, source in outputs.items()},
    )
    signature = Signature(
        method_name=method_name,
        file="model.onnx",
        inputs={alias: spec(dtype, None, alias) for alias, dtype in inputs.items()},
        outputs={
            alias: spec(inputs[source], None, f"{alias}_out") for alias, source in outputs.items()
        },
    )
    publish(models_dir, name, {"model.onnx": model}, dict.fromkeys(signature_names, signature))


def scaled(models_dir: Path) -> None:
    """Write `y = x * factor`; the default of `factor` is 3."""
    number = DataType.DT_FLOAT
    model = graph(
        [node("Mul", ["x", "factor"], ["y"])], {"x": number, "factor": number}, {"y": number}
    )
    signature = Signature(
        method_name=PREDICT_METHOD_NAME,
        file="model.onnx",
        inputs={alias: spec(number, None, alias) for alias in ("x", "factor")},
        outputs={"y": spec(number, None, "y")},
        defaults={"factor": np.float32(3).reshape(())},
    )
    publish(models_dir, "scaled", {"model.onnx": model}, {"serving_default": signature})


def slices(
    models_dir: Path,
    name: str,
    inputs: Mapping[str, DataType],
    rows: Mapping[str, int],
) -> None:
    """Write a model that answers the first `rows` rows of each input; 0 rows make it empty."""
    nodes = [
        node("Slice", [alias, "from", f"{alias}_rows"], [f"{alias}_out"])
        for alias in inputs
        if alias in rows
    ]
    nodes += [node("Identity", [alias], [f"{alias}_out"]) for alias in inputs if alias not in rows]
    model = graph(
        nodes,
        inputs,
        {f"{alias}_out": dtype for alias, dtype in inputs.items()},
        **{"from": np.array([0])},
        **{f"{alias}_rows": np.array([count]) for alias, count in rows.items()},
    )
    signature = Signature(
        method_name=PREDICT_METHOD_NAME,
        file="model.onnx",
        inputs={alias: spec(dtype, None, alias) for alias, dtype in inputs.items()},
        outputs={alias: spec(dtype, None, f"{alias}_out") for alias, dtype in inputs.items()},
    )
    publish(models_dir, name, {"model.onnx": model}, {"serving_default": signature})


def total(models_dir: Path) -> None:
    """Write a model whose output `tensor` is the sum of `x`, a scalar."""
    number = DataType.DT_INT32
    model = graph(
        [node("ReduceSum", ["x"], ["tensor"], keepdims=0)], {"x": number}, {"tensor": number}
    )
    signature = Signature(
        method_name=PREDICT_METHOD_NAME,
        file="model.onnx",
        inputs={"x": spec(number, (-1,), "x")},
        outputs={"tensor": spec(number, (), "tensor")},
    )
    publish(models_dir, "total", {"model.onnx": model}, {"serving_default": signature})


def broken(models_dir: Path) -> None:
    """Write versions without a graph: `broken` 1 and `half_broken` 124."""
    for path in (models_dir / "broken" / "1", models_dir / "half_broken" / "124"):
        path.mkdir(parents=True, exist_ok=True)
        (path / "model.onnx").write_bytes(b"no graph")


def of_feature(dtype: DataType, name: str, kind: FeatureKind = FeatureKind.VARIABLE) -> FeatureSpec:
    """Return a feature with the name of its input; a missing fixed feature is 0."""
    if kind is FeatureKind.FIXED:
        return FeatureSpec(tensor=spec(dtype, (-1,), name), key=name, default=(0,))
    return FeatureSpec(tensor=spec(dtype, (-1, -1), name), key=name, kind=kind)
