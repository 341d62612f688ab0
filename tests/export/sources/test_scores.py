import pytest

from export.errors import ExportError
from export.sources import scores
from serving.tensors.signature import DataType, Signature, TensorSpec


def signature(**outputs):
    """Return a signature with outputs of these dtypes and shapes."""
    return Signature(
        method_name="tensorflow/serving/predict",
        file="model.onnx",
        inputs={},
        outputs={
            name: TensorSpec(dtype=dtype, shape=shape, tensor=name, graph_name=name)
            for name, (dtype, shape) in outputs.items()
        },
    )


FLOATS, WIDE = (DataType.DT_FLOAT, (-1, 5)), (DataType.DT_FLOAT, (-1, 128))


@pytest.mark.parametrize(
    ("outputs", "wanted", "found"),
    [
        ({"x": FLOATS, "classes": (DataType.DT_INT64, (-1,))}, None, "x"),
        ({"x": FLOATS, "embedding": WIDE}, None, "x"),
        ({"logits": FLOATS, "probabilities": FLOATS}, None, "probabilities"),
        ({"logits": FLOATS, "probabilities": FLOATS}, "logits", "logits"),
        ({"x": (DataType.DT_FLOAT, (-1, -1))}, None, "x"),
    ],
)
def test_scores_are_found(outputs, wanted, found):
    """Scores are the wanted output; without one, the only fitting output or one of a usual name."""
    assert scores.find(signature(**outputs), wanted=wanted, classes=5) == found


@pytest.mark.parametrize(
    ("outputs", "wanted", "message"),
    [
        ({"a": FLOATS, "b": FLOATS}, None, "outputs a, b may all hold the scores; name one as --s"),
        (
            {"a": FLOATS},
            "c",
            r"output 'c' received as --scores, expected a float .* 5 classes; the",
        ),
        (
            {"a": (DataType.DT_STRING, (-1, 5))},
            None,
            r"the outputs are a DT_STRING of shape \(-1, ",
        ),
        ({"a": (DataType.DT_FLOAT, (-1, 1))}, None, "export the model with such an output"),
    ],
)
def test_other_outputs_are_refused(outputs, wanted, message):
    """If the scores are ambiguous, missing, strings or a single column, ExportError is raised."""
    with pytest.raises(ExportError, match=message):
        scores.find(signature(**outputs), wanted=wanted, classes=5)
