import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from sample_models import tiny_classifiers

from export.precisions import int8


@pytest.fixture(scope="module")
def model():
    """The float32 classifier."""
    return tiny_classifiers.classifier()


@pytest.fixture(scope="module")
def quantized(model):
    """The classifier in int8."""
    return int8.quantize(model, {"images": tiny_classifiers.images(60, seed=1)})


def constants(model):
    return {x.name: x for x in model.graph.initializer}


def test_layers_between_the_first_and_the_last_are_integers(quantized):
    """Inner layers have int8 weights, a scale per channel, int32 biases; the others float32."""
    types = {name: tensor.data_type for name, tensor in constants(quantized).items()}

    for layer, channels in {"2": 8, "3": 16, "4": 16, "5": 24}.items():
        assert types[f"w{layer}_quantized"] == TensorProto.INT8
        assert types[f"b{layer}_quantized"] == TensorProto.INT32
        assert list(constants(quantized)[f"w{layer}_scale"].dims) == [channels]
    for name in ("w1", "b1", "w6", "b6"):
        assert types[name] == TensorProto.FLOAT


def test_activations_are_unsigned_with_one_scale(quantized):
    """Each QuantizeLinear gives uint8 and has a scalar scale."""
    nodes = [node for node in quantized.graph.node if node.op_type == "QuantizeLinear"]

    assert len(nodes) >= 5
    for node in nodes:
        assert constants(quantized)[node.input[2]].data_type == TensorProto.UINT8
        assert list(constants(quantized)[node.input[1]].dims) == []


def test_logits_are_not_rounded(quantized):
    """The softmax and the argmax read what the last layer computes in float32."""
    makers = {name: node for node in quantized.graph.node for name in node.output}

    for output in ("probabilities", "classes"):
        assert makers[makers[output].input[0]].op_type == "Gemm"


def test_answers_stay_close(model, quantized):
    """Probabilities change by less than 0.1; inputs and outputs keep names, types and shapes."""
    images = tiny_classifiers.images(100, seed=2)

    answer, expected = tiny_classifiers.run(quantized, images), tiny_classifiers.run(model, images)

    assert list(quantized.graph.input) == list(model.graph.input)
    assert list(quantized.graph.output) == list(model.graph.output)
    assert 0 < np.abs(answer - expected).max() < 0.1
    assert (answer.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.95


def test_bytes_do_not_depend_on_the_process(quantized, tmp_path):
    """Another process with another hash seed makes the same file."""
    script = (
        "import sys\n"
        "from sample_models import tiny_classifiers\n"
        "from export.precisions import int8\n"
        "images = tiny_classifiers.images(60, seed=1)\n"
        "made = int8.quantize(tiny_classifiers.classifier(), {'images': images})\n"
        "open(sys.argv[1], 'wb').write(made.SerializeToString(deterministic=True))\n"
    )
    file = tmp_path / "again.onnx"

    subprocess.run(
        [sys.executable, "-c", script, file],
        env={"PYTHONPATH": "tests:.", "PYTHONHASHSEED": "7", "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=True,
        timeout=120,
    )

    assert file.read_bytes() == quantized.SerializeToString(deterministic=True)


def test_float32_model_is_left_alone(model):
    """Quantising does not change the model passed in."""
    before = model.SerializeToString()

    int8.quantize(model, {"images": tiny_classifiers.images(5)})

    assert model.SerializeToString() == before
    onnx.checker.check_model(model, full_check=True)
