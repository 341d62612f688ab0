"""Models of tf.Examples from classifier_test.cc, regressor_test.cc and json_tensor_test.cc."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto
from onnx.helper import make_node as node
from tfs_parity import models

from serving.tensors.feature_spec import FeatureKind, FeatureSpec
from serving.tensors.signature import (
    CLASSIFY_METHOD_NAME,
    REGRESS_METHOD_NAME,
    DataType,
    Signature,
    TensorSpec,
)

FLOAT, STRING, INT64 = DataType.DT_FLOAT, DataType.DT_STRING, DataType.DT_INT64
EXAMPLES = models.spec(STRING, (-1,), "", "input:0")
CLASS = models.of_feature(STRING, "class")
SCORE = models.of_feature(FLOAT, "score")
OUTPUT = FeatureSpec(tensor=models.spec(FLOAT, (-1,), "output"), key="output")
UNSUPPORTED_METHOD = "not/supported/method"


class _Parts:
    """Files and signatures of one model that takes tf.Examples."""

    def __init__(self, features: Mapping[str, FeatureSpec]) -> None:
        self._features = features
        self.files: dict[str, onnx.ModelProto] = {}
        self.signatures: dict[str, Signature] = {}

    def add(
        self,
        name: str,
        method_name: str,
        nodes: Sequence[onnx.NodeProto],
        outputs: Mapping[str, DataType],
        **constants: np.ndarray,
    ) -> None:
        """Add a signature with its own graph; `nodes` compute `<alias>_out` of each output."""
        used = {source for made in nodes for source in made.input} & self._features.keys()
        file = f"{name}.onnx"
        self.files[file] = models.graph(
            nodes,
            {alias: self._features[alias].tensor.dtype for alias in sorted(used)},
            {f"{alias}_out": dtype for alias, dtype in outputs.items()},
            **constants,
        )
        self.signatures[name] = Signature(
            method_name=method_name,
            file=file,
            inputs={"inputs": EXAMPLES},
            outputs={
                alias: models.spec(dtype, None, f"{alias}_out", f"{alias}:0")
                for alias, dtype in outputs.items()
            },
            feature_spec={alias: self._features[alias] for alias in sorted(used)},
        )

    def publish(self, models_dir: Path, name: str) -> None:
        """Write the model's version into `models_dir`."""
        models.publish(models_dir, name, self.files, self.signatures)


def _same(source: str, alias: str) -> onnx.NodeProto:
    return node("Identity", [source], [f"{alias}_out"])


def classifier(models_dir: Path) -> None:
    """Write classifier_test.cc's FakeSession: labels and scores are features `class`, `score`."""
    parts = _Parts({"class": CLASS, "score": SCORE})
    classes, scores = _same("class", "classes"), _same("score", "scores")
    both = {"classes": STRING, "scores": FLOAT}
    first = {"from": np.array([0]), "one": np.array([1])}
    one = {"one": np.float32(1)}
    plus_one = node("Add", ["score", "one"], ["scores_out"])

    def add(
        name: str,
        nodes: Sequence[onnx.NodeProto],
        outputs: Mapping[str, DataType],
        method_name: str = CLASSIFY_METHOD_NAME,
        **constants: np.ndarray,
    ) -> None:
        parts.add(name, method_name, nodes, outputs, **constants)

    add("serving_default", [classes, scores], both)
    add("classes_only", [classes], {"classes": STRING})
    add("scores_only", [scores], {"scores": FLOAT})
    add("output_plus_one", [classes, plus_one], both, **one)
    regress = node("Add", ["score", "one"], ["outputs_out"])
    add("invalid_regression_signature", [regress], {"outputs": FLOAT}, REGRESS_METHOD_NAME, **one)
    cube = node("Unsqueeze", ["score", "axis"], ["scores_out"])
    add("ImproperlySizedScoresSignature", [classes, cube], both, axis=np.array([2]))
    fewer = node("Slice", ["class", "from", "one"], ["classes_out"])
    add("classes_of_one_example", [fewer, scores], both, **first)
    fewer = node("Slice", ["score", "from", "one"], ["scores_out"])
    add("scores_of_one_example", [classes, fewer], both, **first)
    numbers = _same("score", "classes")
    add("classes_of_numbers", [numbers, scores], {"classes": FLOAT, "scores": FLOAT})
    texts = _same("class", "scores")
    add("scores_of_strings", [classes, texts], {"classes": STRING, "scores": STRING})
    wider = [
        node("ReduceSum", ["score", "axis"], ["sum"]),
        node("Concat", ["score", "sum"], ["scores_out"], axis=1),
    ]
    add("one_score_more", [classes, *wider], both, axis=np.array([1]))
    add("unsupported_method", [classes, scores], both, UNSUPPORTED_METHOD)
    add("no_method", [classes, scores], both, "")
    third = {"third": FLOAT}
    add("three_outputs", [classes, scores, _same("score", "third")], both | third)
    add("fails", [node("Gather", ["score", "far"], ["scores_out"])], {"scores": FLOAT}, far=_FAR)
    parts.publish(models_dir, "classifier")


# No tensor has a row of this number, so a graph that takes it fails at every run.
_FAR = np.array([1_000_000])


def regressor(models_dir: Path) -> None:
    """Write regressor_test.cc's FakeSession: the regression is the feature `output`."""
    parts = _Parts({"output": OUTPUT})
    number = {"outputs": FLOAT}

    def add(
        name: str,
        *nodes: onnx.NodeProto,
        method_name: str = REGRESS_METHOD_NAME,
        outputs: Mapping[str, DataType] | None = None,
        **constants: np.ndarray,
    ) -> None:
        parts.add(name, method_name, nodes, outputs or number, **constants)

    add("serving_default", _same("output", "outputs"))
    plus_one = [
        node("Add", ["output", "one"], ["sum"]),
        node("Unsqueeze", ["sum", "axis"], ["outputs_out"]),
    ]
    add("output_plus_one", *plus_one, one=np.float32(1), axis=np.array([1]))
    add(
        "invalid_classification_signature",
        _same("output", "classes"),
        outputs={"classes": FLOAT},
        method_name=CLASSIFY_METHOD_NAME,
    )
    cube = [
        node("Unsqueeze", ["output", "axes"], ["column"]),
        node("Concat", ["column"] * 10, ["outputs_out"], axis=2),
    ]
    add("ImproperlySizedOutputSignature", *cube, axes=np.array([1, 2]))
    add("twice_as_many", node("Concat", ["output"] * 2, ["outputs_out"], axis=0))
    texts = node("Cast", ["output"], ["outputs_out"], to=TensorProto.STRING)
    add("strings", texts, outputs={"outputs": STRING})
    add("unsupported_method", _same("output", "outputs"), method_name=UNSUPPORTED_METHOD)
    add("no_method", _same("output", "outputs"), method_name="")
    two = {"outputs": FLOAT, "more": FLOAT}
    add("two_outputs", _same("output", "outputs"), _same("output", "more"), outputs=two)
    add("fails", node("Gather", ["output", "far"], ["outputs_out"]), far=_FAR)
    parts.publish(models_dir, "regressor")


def feature_echo(models_dir: Path) -> None:
    """Write a model that answers features read from JSON: labels `names`, scores `ratings`."""
    features = {
        "names": models.of_feature(STRING, "names"),
        "ratings": models.of_feature(FLOAT, "ratings"),
        "query": models.of_feature(STRING, "query"),
        "location": models.of_feature(STRING, "location"),
        "age": models.of_feature(INT64, "age", FeatureKind.FIXED),
        "intboolmix": models.of_feature(INT64, "intboolmix"),
    }
    parts = _Parts(features)
    numbers = node("Cast", ["intboolmix"], ["scores_out"], to=TensorProto.FLOAT)
    context = [
        node("Concat", ["query", "location"], ["classes_out"], axis=1),
    ]
    both = {"classes": STRING, "scores": FLOAT}
    shown = [_same("names", "classes"), _same("ratings", "scores")]
    for name in ("serving_default", "custom_signture"):
        parts.add(name, CLASSIFY_METHOD_NAME, shown, both)
    parts.add("names", CLASSIFY_METHOD_NAME, [shown[0]], {"classes": STRING})
    parts.add("ratings", CLASSIFY_METHOD_NAME, [shown[1]], {"scores": FLOAT})
    parts.add("context", CLASSIFY_METHOD_NAME, context, {"classes": STRING})
    parts.add("numbers", CLASSIFY_METHOD_NAME, [numbers], {"scores": FLOAT})
    age = node("Cast", ["age"], ["outputs_out"], to=TensorProto.FLOAT)
    parts.add("age", REGRESS_METHOD_NAME, [age], {"outputs": FLOAT})
    first = node("ReduceMax", ["ratings", "axis"], ["outputs_out"], keepdims=0)
    parts.add("rating", REGRESS_METHOD_NAME, [first], {"outputs": FLOAT}, axis=np.array([1]))
    parts.publish(models_dir, "feature_echo")


def two_inputs(models_dir: Path) -> None:
    """Write signatures that Classify and Regress refuse, and tasks with different input tensors."""
    files = {
        "x.onnx": models.graph(
            [_same("x", "outputs"), _same("x", "scores")],
            {"x": FLOAT},
            {"outputs_out": FLOAT, "scores_out": FLOAT},
        ),
        "xz.onnx": models.graph(
            [node("Add", ["x", "z"], ["outputs_out"])],
            {"x": FLOAT, "z": FLOAT},
            {"outputs_out": FLOAT},
        ),
    }
    x = models.spec(FLOAT, (-1, 1), "x")
    feature = {"x": FeatureSpec(tensor=x, key="x")}

    def one(alias: str, graph_name: str, output: str, method_name: str) -> Signature:
        examples = TensorSpec(dtype=STRING, shape=(-1,), tensor="", graph_name=graph_name)
        return Signature(
            method_name=method_name,
            file="x.onnx",
            inputs={alias: examples},
            outputs={output: models.spec(FLOAT, (-1, 1), f"{output}_out")},
            feature_spec=feature,
        )

    signatures = {
        "regress_first": one("inputs", "first:0", "outputs", REGRESS_METHOD_NAME),
        "classify_second": one("inputs", "second:0", "scores", CLASSIFY_METHOD_NAME),
        "regress_renamed": one("examples", "first:0", "outputs", REGRESS_METHOD_NAME),
        "classify_renamed": one("examples", "first:0", "scores", CLASSIFY_METHOD_NAME),
        "two_inputs": Signature(
            method_name=REGRESS_METHOD_NAME,
            file="xz.onnx",
            inputs={"inputs": x, "z": models.spec(FLOAT, (-1, 1), "z")},
            outputs={"outputs": models.spec(FLOAT, (-1, 1), "outputs_out")},
        ),
    }
    models.publish(models_dir, "two_inputs", files, signatures)
