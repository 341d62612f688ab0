import json

import pytest
from sample_models import example_models

from serving.tensors.feature_spec import FeatureKind, FeatureSpec
from serving.tensors.signature import DataType, Signature, TensorSpec

X = example_models.spec(DataType.DT_FLOAT, -1, 2, tensor="x", graph_name="X:0")
WORDS = example_models.spec(DataType.DT_STRING, -1, -1, tensor="words")
GREY = example_models.spec(DataType.DT_FLOAT, -1, 4, 6, 1, tensor="grey")
IMAGES = example_models.spec(DataType.DT_UINT8, -1, 4, 6, 3, tensor="images")


@pytest.mark.parametrize(
    "spec",
    [
        FeatureSpec(tensor=X, key="x"),
        FeatureSpec(tensor=X, key="x", default=(1.5, -2.0)),
        FeatureSpec(tensor=WORDS, key="w", kind=FeatureKind.VARIABLE, default=(b"\xff",)),
        FeatureSpec(tensor=IMAGES, key="image", kind=FeatureKind.IMAGE),
        FeatureSpec(tensor=GREY, key="image", kind=FeatureKind.IMAGE),
        FeatureSpec(tensor=IMAGES, key="image", kind=FeatureKind.IMAGE, upright=True),
    ],
    ids=["required", "default", "variable", "image", "grey floats", "upright"],
)
def test_specs_survive_signature_json(spec):
    """A spec is the same after a round trip through JSON text, bytes included."""
    text = json.dumps(spec.to_json())

    assert FeatureSpec.from_json(json.loads(text)) == spec


def test_an_unknown_orientation_is_refused():
    """The only rule is `exif`; the message names what was received."""
    entry = FeatureSpec(tensor=IMAGES, key="image", kind=FeatureKind.IMAGE, upright=True).to_json()

    assert entry["orientation"] == "exif"
    with pytest.raises(ValueError, match="orientation is 'left', expected 'exif'"):
        FeatureSpec.from_json(entry | {"orientation": "left"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tensor": IMAGES}, "fixed feature 'x' is DT_UINT8 .* expected DT_FLOAT or DT_INT64"),
        ({"tensor": WORDS}, r"fixed feature 'x' is DT_STRING \(-1, -1\), expected .*fixed sizes"),
        ({"kind": FeatureKind.VARIABLE}, r"expected .* \(-1, -1, fixed sizes\.\.\.\)"),
        ({"kind": FeatureKind.IMAGE}, r"expected DT_UINT8 or .*width, 3 or 1\)"),
        ({"default": (1.0,)}, "fixed feature 'x' has 1 default values, expected 2"),
        (
            {"tensor": WORDS, "kind": FeatureKind.VARIABLE, "default": (b"", b"")},
            "variable feature 'x' has 2 default values, expected 1",
        ),
        (
            {"tensor": IMAGES, "kind": FeatureKind.IMAGE, "default": (0,)},
            "image feature 'x' has 1 default values, expected none",
        ),
    ],
)
def test_contradictions_are_refused(changes, message):
    """A dtype, shape or default that the feature's kind cannot have is a ValueError.

    The message says what was expected.
    """
    with pytest.raises(ValueError, match=message):
        FeatureSpec(**{"tensor": X, "key": "x", **changes})


def signature(**inputs: TensorSpec) -> Signature:
    return Signature(
        method_name="tensorflow/serving/predict",
        file="model.onnx",
        inputs=inputs,
        outputs={"y": X},
        feature_spec={"x": FeatureSpec(tensor=X, key="x")},
    )


EXAMPLES = example_models.EXAMPLES


def test_examples_are_replaced_by_features():
    """The graph's inputs are the other inputs, unchanged, and features in place of the examples."""
    both = signature(z=IMAGES, inputs=EXAMPLES)

    assert both.example_input == "inputs"
    assert dict(both.model_inputs) == {"z": IMAGES, "x": X}
    assert both.has_rows


def test_signatures_survive_signature_json():
    """A signature is the same after a round trip through JSON, feature spec and constants included.

    A signature without feature spec or constants has no entry for them.
    """
    constant = example_models.spec(DataType.DT_STRING, -1, 2, constant=("a", "b"))
    parsing = Signature(
        method_name="tensorflow/serving/classify",
        file="model.onnx",
        inputs={"inputs": EXAMPLES},
        outputs={"scores": X, "classes": constant},
        feature_spec={"x": FeatureSpec(tensor=X, key="x")},
    )
    plain = Signature(method_name="p", file="f", inputs={"x": X}, outputs={"y": X})

    assert Signature.from_json(json.loads(json.dumps(parsing.to_json()))) == parsing
    assert "feature_spec" not in plain.to_json()
    assert "constant" not in plain.to_json()["outputs"]["y"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"z": IMAGES}, "needs one DT_STRING input of shape"),
        ({"a": EXAMPLES, "b": EXAMPLES}, "needs one DT_STRING input of shape"),
        ({"a": WORDS}, "needs one DT_STRING input of shape"),
        ({"inputs": EXAMPLES, "x": X}, "aliases that are inputs too: x"),
    ],
)
def test_a_feature_spec_needs_one_input_of_examples(inputs, message):
    """A feature spec without exactly one input of examples, or with a doubled alias, is refused."""
    with pytest.raises(ValueError, match=message):
        signature(**inputs)


def test_constants_must_fit_their_shape():
    """A constant whose strings do not fit its shape is refused: two names for three columns."""
    entry = example_models.spec(DataType.DT_STRING, -1, 3, constant=("a", "b")).to_json()

    with pytest.raises(ValueError, match=r"constant of 2 strings for DT_STRING \(-1, 3\)"):
        TensorSpec.from_json(entry)
