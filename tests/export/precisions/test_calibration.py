import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sample_models import tiny_classifiers

from export.precisions import calibration
from training.data.cifar10 import Split


@pytest.fixture(scope="module")
def held_out():
    """120 held-out images."""
    return Split(images=tiny_classifiers.images(120), labels=np.arange(120) % 10)


def test_draw_is_seeded_and_without_replacement(held_out):
    """The same seed draws the same images, each once; another seed draws others."""
    first, again, other = (calibration.draw_images(held_out, seed=x) for x in (0, 0, 1))

    assert first.as_dict() == again.as_dict()
    assert first.as_dict()["sha256"] != other.as_dict()["sha256"]
    drawn = {image.tobytes() for image in first.split.images}
    assert len(drawn) == 50
    assert drawn | {image.tobytes() for image in held_out.images[first.rest]} == {
        image.tobytes() for image in held_out.images
    }
    assert len(first.rest) == 70


def test_record_says_which_images_they_were(held_out):
    """The record has number, origin, seed and SHA-256, so that the images can be drawn again."""
    drawn = calibration.draw_images(held_out, seed=3)

    assert drawn.as_dict() == {
        "images": 50,
        "drawn_from": "120 held-out training images",
        "seed": 3,
        "sha256": drawn.split.sha256(),
    }
    again = held_out.images[calibration.positions(120, 50, 3)]
    np.testing.assert_array_equal(again, drawn.split.images)


@pytest.mark.parametrize(("total", "drawn"), [(100, 50), (400, 80), (5_000, 500), (50_000, 500)])
def test_a_fifth_is_drawn(total, drawn):
    """A fifth of the images calibrates, at least 50 and at most 500."""
    images = np.broadcast_to(np.zeros((1, 32, 32, 3), np.uint8), (total, 32, 32, 3))

    found = calibration.draw_images(Split(images=images, labels=np.zeros(total, np.int64)))

    assert (len(found.split), len(found.rest)) == (drawn, total - drawn)


def test_a_hundred_images_are_enough():
    """50 images calibrate and 50 judge, so fewer than 100 are not enough."""
    assert calibration.is_enough(100)
    assert not calibration.is_enough(99)


def products(factors=None):
    """Return a graph of each pixel times its colour's factor, or times itself without factors."""
    return tiny_classifiers.model(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["pixels", "factors" if factors else "pixels"], ["y"]),
        ],
        {"factors": np.array(factors, np.float32)} if factors else {},
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 32, 32, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 32, 32, 3])],
    )


def test_evenly_spread_values_keep_their_full_range():
    """If images are alike and no value is rare, no value is clipped."""
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3)).astype(np.uint8)

    ranges = calibration.ranges(products([1, 1, -1]), {"images": images})

    assert ranges["pixels"] == (0, 255)
    assert ranges["y"] == (-255, 255)


def test_each_image_counts_alike():
    """One image with squares up to 65,025 does not set the range of nine with squares up to 144."""
    random = np.random.default_rng(0)
    images = random.integers(0, 13, (10, 32, 32, 3)).astype(np.uint8)
    images[0] = random.integers(0, 256, (32, 32, 3))

    together = calibration.ranges(products(), {"images": images})["y"]
    alone = calibration.ranges(products(), {"images": images[:1]})["y"]

    assert alone[1] > 50_000
    assert together[1] < alone[1] / 4


def test_a_few_rare_values_are_clipped():
    """Outliers in a thousandth of the pixels are clipped and do not set the range."""
    random = np.random.default_rng(0)
    images = random.integers(1, 5, (10, 32, 32, 3)).astype(np.uint8)
    images[random.random(images.shape) < 0.001] = 40

    low, high = calibration.ranges(products(), {"images": images})["y"]

    assert low == 0
    assert high < 40**2


def test_all_values_zero_is_a_range_of_width_zero():
    """A layer that is always 0 has the range (0, 0) and raises no error."""
    ranges = calibration.ranges(products([0, 0, 0]), {"images": tiny_classifiers.images(3)})

    assert ranges["y"] == (0, 0)


def test_every_float_tensor_is_observed():
    """All floats that nodes compute are observed, with the outputs; integers and constants not."""
    model, images = tiny_classifiers.classifier(), tiny_classifiers.images(70)

    seen = {}
    for name, values in calibration.observe(model, {"images": images}):
        seen.setdefault(name, []).append(values)

    made = {name for node in model.graph.node for name in node.output}
    assert set(seen) == made - {"classes"}
    assert [len(values) for values in seen["logits"]] == [50, 20]
    np.testing.assert_allclose(
        np.concatenate(seen["probabilities"]), tiny_classifiers.run(model, images), atol=1e-6
    )
    assert len(model.graph.output) == 2


def test_ranges_hold_zero():
    """A range of positive values starts at 0, because 0 must be represented exactly."""
    images = np.full((2, 32, 32, 3), 200, np.uint8)

    assert calibration.ranges(products([1, 1, 1]), {"images": images})["y"] == (0, 200)


def test_float_inputs_have_ranges_and_odd_tensors_none():
    """A float32 input is a tensor like the others; infinities and empty tensors are left out."""
    floats = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Reciprocal", ["x"], ["inverse"]),
            onnx.helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        ],
        "odd",
        [onnx.helper.make_tensor_value_info("x", floats, ["batch", 2])],
        [
            onnx.helper.make_tensor_value_info("inverse", floats, ["batch", 2]),
            onnx.helper.make_tensor_value_info("largest", floats, []),
        ],
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)

    ranges = calibration.ranges(model, {"x": np.array([[0, 1], [2, 4]], np.float32)})

    assert set(ranges) == {"x", "largest"}
    assert ranges["largest"][0] == 0
