"""Tiny real ONNX models that take tf.Examples, each published with signature.json and manifest."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from onnx import TensorProto, helper
from sample_models import tiny_models

from serving.protos.tensorflow_example_pb2 import Example
from serving.repository import model_folder, publishing
from serving.tensors.feature_spec import FeatureKind, FeatureSpec
from serving.tensors.signature import (
    CLASSIFY_METHOD_NAME,
    PREDICT_METHOD_NAME,
    REGRESS_METHOD_NAME,
    DataType,
    Signature,
    TensorSpec,
)

CLASS_NAMES = ("dark", "bright")


def example(**features: list | bytes) -> bytes:
    """Return a serialized tf.Example; `__` in the name of a feature stands for a slash.

    A feature is bytes or a list of floats, integers or bytes.
    """
    message = Example()
    for key, values in features.items():
        feature = message.features.feature[key.replace("__", "/")]
        if isinstance(values, bytes):
            feature.bytes_list.value.append(values)
        elif values and isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif values and isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
            feature.float_list.SetInParent()
    return message.SerializeToString()


def spec(
    dtype: DataType, *shape: int, tensor: str = "", graph_name: str = "", constant: tuple = ()
) -> TensorSpec:
    return TensorSpec(
        dtype=dtype, shape=shape, tensor=tensor, graph_name=graph_name or tensor, constant=constant
    )


# TensorFlow 1's SavedModels feed all signatures through one placeholder; TensorFlow 2's do not.
EXAMPLES = spec(DataType.DT_STRING, -1, tensor="inputs", graph_name="input_example_tensor:0")


def pictures(models_dir: Path, name: str = "pictures") -> Path:
    """A classifier of dark and bright pictures with the signatures of the bundled models.

    `serving_default` takes `images` uint8 (batch, 32, 32, 3) and answers `probabilities`;
    `classify` takes tf.Examples with `image/encoded` or `image/raw`.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = tiny_models.brightness(Path(folder))
        default = model_folder.read(source).signatures["serving_default"]
        graph = (source / "model.onnx").read_bytes()
    classify = Signature(
        method_name=CLASSIFY_METHOD_NAME,
        file="model.onnx",
        inputs={"inputs": spec(DataType.DT_STRING, -1, graph_name="classify_inputs:0")},
        outputs={
            "scores": spec(DataType.DT_FLOAT, -1, 2, tensor="probabilities", graph_name="P:1"),
            "classes": spec(DataType.DT_STRING, -1, 2, graph_name="P:0", constant=CLASS_NAMES),
        },
        feature_spec={
            "images": FeatureSpec(
                tensor=default.inputs["images"], key="image", kind=FeatureKind.IMAGE
            )
        },
    )

    def write(path: Path) -> None:
        (path / "model.onnx").write_bytes(graph)
        signatures = {"serving_default": default, "classify": classify}
        publishing.write_signatures(path, signatures, class_names=CLASS_NAMES)

    return publishing.publish(models_dir / name, write)


def numbers(models_dir: Path, name: str = "numbers") -> Path:
    """`sum` float (batch,) = x[0] + x[1] + n, with n = 5 by default; `pair` = (sum, -sum).

    It has every kind of signature that Classify, Regress and MultiInference meet, valid or not.
    """
    features = {
        "x": FeatureSpec(tensor=spec(DataType.DT_FLOAT, -1, 2, tensor="x"), key="x"),
        "n": FeatureSpec(tensor=spec(DataType.DT_INT64, -1, tensor="n"), key="n", default=(5,)),
    }

    def signature(
        outputs: Mapping[str, TensorSpec],
        *,
        method_name: str = PREDICT_METHOD_NAME,
        inputs: Mapping[str, TensorSpec] | None = None,
    ) -> Signature:
        return Signature(
            method_name=method_name,
            file="model.onnx",
            inputs=inputs or {"inputs": EXAMPLES},
            outputs=outputs,
            feature_spec=features,
        )

    total = spec(DataType.DT_FLOAT, -1, tensor="sum")
    column = spec(DataType.DT_FLOAT, -1, 1, tensor="column")
    pair = spec(DataType.DT_FLOAT, -1, 2, tensor="pair")
    flipped = spec(DataType.DT_INT64, -1, tensor="flipped")
    three = spec(DataType.DT_STRING, -1, 3, graph_name="C:0", constant=("a", "b", "c"))
    two = spec(DataType.DT_STRING, -1, 2, graph_name="C:0", constant=("up", "down"))
    renamed = {"examples": EXAMPLES}
    signatures = {
        "serving_default": signature({"outputs": total}, method_name=REGRESS_METHOD_NAME),
        "column": signature({"outputs": column}, method_name=REGRESS_METHOD_NAME),
        "classify": signature({"scores": pair, "classes": two}, method_name=CLASSIFY_METHOD_NAME),
        "scores": signature({"scores": pair}),
        "classes": signature({"classes": two}),
        "mismatch": signature({"scores": pair, "classes": three}),
        "flat": signature({"scores": total}),
        "wide": signature({"outputs": pair}),
        "integers": signature({"outputs": flipped}),
        "three": signature({"outputs": total, "scores": pair, "classes": two}),
        "other_output": signature({"sum": total}),
        "other_input": signature({"outputs": total, "scores": pair}, inputs=renamed),
        "other_input_one": signature({"outputs": total}, inputs=renamed),
        "plain": Signature(
            method_name=PREDICT_METHOD_NAME,
            file="model.onnx",
            inputs={alias: feature.tensor for alias, feature in features.items()},
            outputs={"outputs": total},
        ),
        "elsewhere": signature(
            {"outputs": total},
            inputs={"inputs": spec(DataType.DT_STRING, -1, graph_name="elsewhere:0")},
        ),
    }

    def write(path: Path) -> None:
        tiny_models.save(
            path / "model.onnx",
            [
                helper.make_node("Cast", ["n"], ["number"], to=TensorProto.FLOAT),
                helper.make_node("ReduceSum", ["x", "axis"], ["total"], keepdims=0),
                helper.make_node("Add", ["total", "number"], ["sum"]),
                helper.make_node("Unsqueeze", ["sum", "axis"], ["column"]),
                helper.make_node("Neg", ["column"], ["negative"]),
                helper.make_node("Concat", ["column", "negative"], ["pair"], axis=1),
                helper.make_node("Neg", ["n"], ["flipped"]),
            ],
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2]),
                helper.make_tensor_value_info("n", TensorProto.INT64, ["batch"]),
            ],
            [
                helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch"]),
                helper.make_tensor_value_info("column", TensorProto.FLOAT, ["batch", 1]),
                helper.make_tensor_value_info("pair", TensorProto.FLOAT, ["batch", 2]),
                helper.make_tensor_value_info("flipped", TensorProto.INT64, ["batch"]),
            ],
            [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
        )
        publishing.write_signatures(path, signatures, class_names=("plus", "minus"))

    return publishing.publish(models_dir / name, write)
