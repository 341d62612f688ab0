import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sample_models import tiny_classifiers

from export.graphs import unused_taps
from export.graphs.graph import settings


def convolution(size, kernel, **attributes):
    """Return a random convolution from 3 to 4 channels on maps of `size`; None is a free size."""
    random = np.random.default_rng(0)
    weights = random.standard_normal((4, 3, *kernel)).astype(np.float32)
    return tiny_classifiers.model(
        [helper.make_node("Conv", ["x", "w"], ["y"], **attributes)],
        {"w": weights},
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, *[None] * len(size)])],
    )


def kernel_of(model):
    return tuple(model.graph.initializer[0].dims[2:])


def answer(model, size):
    x = np.random.default_rng(1).standard_normal((2, 3, *size)).astype(np.float32)
    return onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("size", "kernel", "attributes", "cropped"),
    [
        pytest.param((1, 1), (3, 3), {"pads": [1] * 4}, (1, 1), id="one pixel"),
        pytest.param((1, 4), (3, 3), {"pads": [1] * 4}, (1, 3), id="one row"),
        pytest.param((2, 2), (5, 5), {"pads": [2] * 4}, (3, 3), id="two pixels, wide kernel"),
        pytest.param((2, 2), (3, 3), {"pads": [1] * 4}, (3, 3), id="all taps are used"),
        pytest.param((1, 1), (3, 3), {"pads": [0, 0, 2, 2]}, (1, 1), id="padding on one side"),
        pytest.param(
            (2, 2), (3, 3), {"pads": [1] * 4, "strides": [2, 2]}, (2, 2), id="strides skip a tap"
        ),
        pytest.param((3, 3), (3, 3), {"pads": [3] * 4, "dilations": [3, 3]}, (1, 1), id="dilation"),
        pytest.param((4, 4), (3, 3), {}, (3, 3), id="no padding"),
        pytest.param((1,), (3,), {"pads": [1, 1]}, (1,), id="one dimension"),
        pytest.param((1, 1), (3, 3), {"auto_pad": "SAME_UPPER"}, (3, 3), id="automatic padding"),
        pytest.param((None, 1), (3, 3), {"pads": [1] * 4}, (3, 3), id="free size"),
    ],
)
def test_taps_in_the_padding_go_and_answers_stay(size, kernel, attributes, cropped):
    """The kernel shrinks to the taps that meet the map, and every output value is as before."""
    model = convolution(size, kernel, **attributes)
    known = tuple(length or 1 for length in size)
    before, shape = answer(model, known), kernel_of(model)

    removed = unused_taps.crop(model)

    onnx.checker.check_model(model, full_check=True)
    assert kernel_of(model) == cropped
    assert removed == 12 * (np.prod(shape) - np.prod(cropped))
    np.testing.assert_allclose(answer(model, known), before, rtol=1e-6, atol=1e-6)


def test_taps_that_are_cut_may_hold_anything():
    """Huge values in taps that read only padding do not change the answer of the cropped kernel."""
    model, tame = convolution((1, 1), (3, 3), pads=[1] * 4), None
    tame = answer(model, (1, 1))
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    middle = weights[:, :, 1, 1].copy()
    weights[:] = 1e9
    weights[:, :, 1, 1] = middle
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "w"))

    unused_taps.crop(model)

    assert onnx.numpy_helper.to_array(model.graph.initializer[0]).max() < 1e9
    np.testing.assert_allclose(answer(model, (1, 1)), tame, rtol=1e-6, atol=1e-6)


def test_weights_of_two_layers_stay():
    """Weights that a second layer reads with another padding are not touched."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        helper.make_node("Conv", ["x", "w"], ["y"], pads=[2] * 4),
    ]
    weights = {"w": np.ones((4, 3, 3, 3), np.float32)}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 1, 1])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4, None, None])
        for name in ("a", "y")
    ]
    model = tiny_classifiers.model(nodes, weights, [x], outputs)

    assert unused_taps.crop(model) == 0
    assert kernel_of(model) == (3, 3)


def test_classifier_answers_as_before():
    """In a network only the layer on 1x1 maps shrinks; probabilities stay equal within 1e-7."""
    model, images = tiny_classifiers.classifier(), tiny_classifiers.images(20)
    before = tiny_classifiers.run(model, images)

    removed = unused_taps.crop(model)

    assert removed == 16 * 16 * 8
    conv = next(node for node in model.graph.node if "w4" in node.input)
    assert settings(conv)["kernel_shape"] == [1, 1]
    assert settings(conv)["pads"] == [0] * 4
    np.testing.assert_allclose(tiny_classifiers.run(model, images), before, atol=1e-7)
