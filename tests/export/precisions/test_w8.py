import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from sample_models import tiny_classifiers

from export.gates import answers
from export.precisions import w8


def constants(model):
    return {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}


def test_weights_are_integers_and_biases_are_not():
    """All weights but the first layer's become int8, with a scale per channel; biases stay."""
    model = tiny_classifiers.classifier()
    before = constants(model)

    after = constants(w8.quantize(model))

    np.testing.assert_array_equal(after["w1"], before["w1"])
    for layer in "23456":
        weights = before[f"w{layer}"]
        channels = weights.shape[0] if weights.ndim == 4 else weights.shape[1]
        assert f"w{layer}" not in after
        assert after[f"w{layer}_int8"].dtype == np.int8
        assert after[f"w{layer}_int8"].shape == weights.shape
        assert after[f"w{layer}_scale"].shape == (channels,)
        np.testing.assert_array_equal(after[f"b{layer}"], before[f"b{layer}"])
    assert constants(model).keys() == before.keys()


def test_file_is_about_a_quarter_of_the_size():
    """Each weight takes 1 byte instead of 4; new names and nodes add less than 3,000 bytes."""
    model = tiny_classifiers.classifier()

    quantized = w8.quantize(model)

    weights = sum(constants(model)[f"w{layer}"].size for layer in "23456")
    saved = model.ByteSize() - quantized.ByteSize()
    assert 3 * weights - 3_000 < saved < 3 * weights


def test_no_weight_is_off_by_more_than_half_a_step():
    """A weight's error is at most half a step; a step is the channel's largest weight / 127."""
    weights = np.random.default_rng(0).standard_normal((6, 5, 3, 3)).astype(np.float32)

    integers, scales = w8.integers_and_scales(weights, 0)

    largest = np.abs(weights).max(axis=(1, 2, 3))
    np.testing.assert_allclose(scales, largest / 127, rtol=1e-6)
    assert np.abs(integers).max(axis=(1, 2, 3)).tolist() == [127] * 6
    error = np.abs(integers * scales.reshape(-1, 1, 1, 1) - weights).max(axis=(1, 2, 3))
    assert (error <= largest / 254 * (1 + 1e-5)).all()


def test_channel_without_weights_stays_zero():
    """A channel of zeros gets scale 1 and stays 0, without a division by zero."""
    integers, scales = w8.integers_and_scales(np.zeros((2, 3), np.float32), 1)

    assert not integers.any()
    assert scales.tolist() == [1, 1, 1]


@pytest.mark.parametrize("transposed", [0, 1])
def test_scales_follow_a_gemms_output_channels(transposed):
    """A Gemm has one scale per column of its matrix, or one per row with transB."""
    weights = np.diag([1.0, 10.0, 100.0]).astype(np.float32)[:, : 3 - transposed]
    model = tiny_classifiers.model(
        [helper.make_node("Gemm", ["x", "w"], ["y"], transB=transposed)],
        {"w": weights},
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2 if transposed else 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )

    quantized = w8.quantize(model)

    assert constants(quantized)["w_scale"].shape == (3,)
    x = np.eye(2 if transposed else 3, dtype=np.float32)
    expected = weights.T if transposed else weights
    answer = onnxruntime.InferenceSession(quantized.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(answer, expected, rtol=1e-5)


def test_matrices_that_are_computed_stay():
    """A MatMul of two inputs has no weights to quantise."""
    shapes = {"a": ["n", 3], "b": [3, 2]}
    model = tiny_classifiers.model(
        [helper.make_node("MatMul", ["a", "b"], ["y"])],
        {},
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, shapes[x]) for x in shapes],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )

    assert w8.quantize(model) == model


def test_same_model_gives_the_same_bytes_and_nearly_the_same_answers():
    """Two runs agree bit for bit, and the answers are those of the dequantised weights."""
    model, images = tiny_classifiers.classifier(), tiny_classifiers.images(20)

    first, second = (w8.quantize(model).SerializeToString() for _ in range(2))

    assert first == second
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    folded = onnxruntime.InferenceSession(first, options).run(
        ["probabilities"], {"images": images}
    )[0]
    by_weights = onnx.ModelProto.FromString(model.SerializeToString())
    quantized = constants(onnx.load_from_string(first))
    for tensor in by_weights.graph.initializer:
        if f"{tensor.name}_int8" in quantized:
            shape = [-1, 1, 1, 1] if len(tensor.dims) == 4 else [1, -1]
            scales = quantized[f"{tensor.name}_scale"].reshape(shape)
            values = quantized[f"{tensor.name}_int8"].astype(np.float32) * scales
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    np.testing.assert_allclose(folded, tiny_classifiers.run(by_weights, images), atol=1e-6)
    np.testing.assert_allclose(folded, tiny_classifiers.run(model, images), atol=0.05)


def test_restored_graph_holds_the_rounded_weights_and_answers_alike():
    """A restored graph has no integers, answers alike, and is not changed by rounding it again."""
    quantized = w8.quantize(tiny_classifiers.classifier())

    restored = w8.restore(quantized)

    assert "DequantizeLinear" not in {node.op_type for node in restored.graph.node}
    types = {tensor.data_type for tensor in restored.graph.initializer}
    assert onnx.TensorProto.INT8 not in types
    images = tiny_classifiers.images(50)
    outputs = [
        answers.session(model.SerializeToString(), precision).run(None, {"images": images})
        for model, precision in ((quantized, "w8"), (restored, "fp32"))
    ]
    for before, after in zip(*outputs, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-7)
    again = w8.restore(w8.quantize(restored))
    for ours, theirs in zip(
        *(sorted(x.graph.initializer, key=lambda y: y.name) for x in (restored, again)), strict=True
    ):
        np.testing.assert_allclose(
            numpy_helper.to_array(ours), numpy_helper.to_array(theirs), rtol=1e-6
        )
