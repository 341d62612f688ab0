"""Random inputs fit the signature, and everything that the signature leaves open varies."""

import numpy as np
import pytest

from export.gates import random_arrays
from serving.protos.tensorflow_example_pb2 import Example
from serving.tensors.feature_spec import FeatureKind, FeatureSpec
from serving.tensors.signature import DataType, Signature, TensorSpec


def tensor(dtype, shape):
    return TensorSpec(dtype=dtype, shape=shape, tensor="x", graph_name="x:0")


def draw(dtype, shape, **settings):
    return random_arrays.random_array(
        tensor(dtype, shape), np.random.default_rng(0), rows=5, free_size=7, **settings
    )


@pytest.mark.parametrize(("rank", "shape"), [(0, ()), (1, (5,)), (3, (5, 7, 7))])
def test_an_input_without_a_rank_gets_the_one_asked_for(rank, shape):
    """An input of unknown rank gets the requested rank; its first dimension is the batch."""
    assert draw(DataType.DT_FLOAT, None, rank=rank).shape == shape


def test_an_input_without_a_rank_has_one_dimension_by_default():
    """An input of unknown rank gets the shape (rows,) by default."""
    assert draw(DataType.DT_FLOAT, None).shape == (5,)


@pytest.mark.parametrize("dtype", [DataType.DT_INT32, DataType.DT_UINT16])
def test_integers_reach_the_largest_one_asked_for(dtype):
    """With `largest=1` integers are 0 and 1, as indices into a table of two rows must be."""
    values = draw(dtype, (1000,), largest=1)

    assert set(values.tolist()) == {0, 1}
    assert values.dtype == dtype.numpy


def test_bytes_have_all_values_whatever_is_the_largest_integer():
    """uint8 inputs ignore `largest`, because they are pixels and not indices."""
    assert draw(DataType.DT_UINT8, (10_000,), largest=1).max() == 255


def test_the_same_seed_draws_the_same():
    """Two draws with the same seed are equal, so that a gate that failed fails again."""
    np.testing.assert_array_equal(draw(DataType.DT_FLOAT, (9,)), draw(DataType.DT_FLOAT, (9,)))


def feature(key, dtype, shape, kind=FeatureKind.FIXED, default=None):
    return FeatureSpec(key=key, kind=kind, tensor=tensor(dtype, shape), default=default)


@pytest.fixture(scope="module")
def examples():
    """Return 500 Examples with fixed features of each type, a variable and a default one."""
    specs = [
        feature("floats", DataType.DT_FLOAT, (-1, 3)),
        feature("integers", DataType.DT_INT64, (-1, 2)),
        feature("words", DataType.DT_STRING, (-1, 4)),
        feature("steps", DataType.DT_INT64, (-1, -1), FeatureKind.VARIABLE),
        feature("default", DataType.DT_FLOAT, (-1, 1), default=(0.0,)),
    ]
    signature = Signature(
        method_name="tensorflow/serving/predict",
        file="model.onnx",
        inputs={"examples": tensor(DataType.DT_STRING, (-1,))},
        outputs={},
        feature_spec={spec.key: spec for spec in specs},
    )
    drawn = random_arrays.random_examples(
        signature, np.random.default_rng(0), rows=500, free_size=4, largest=2
    )
    assert (drawn.dtype, drawn.shape) == (object, (500,))
    return [dict(Example.FromString(each).features.feature) for each in drawn]


def test_examples_have_what_their_features_ask_for(examples):
    """Each fixed feature has as many values, of the type, as its spec says."""
    for each in examples:
        assert len(each["floats"].float_list.value) == 3
        assert len(each["integers"].int64_list.value) == 2
        assert len(each["words"].bytes_list.value) == 4


def test_words_are_text(examples):
    """Strings are words of three letters from a to z; every letter occurs."""
    words = [word for each in examples for word in each["words"].bytes_list.value]

    assert {len(word) for word in words} == {3}
    assert set(b"".join(words)) == set(b"abcdefghijklmnopqrstuvwxyz")


def test_integers_of_examples_reach_the_largest_one(examples):
    """Integers of fixed and variable features are 0 to `largest`, and each value occurs."""
    fixed = {value for each in examples for value in each["integers"].int64_list.value}
    steps = [each["steps"] for each in examples if "steps" in each]
    variable = {value for each in steps for value in each.int64_list.value}

    assert fixed == variable == {0, 1, 2}


def test_variable_features_have_any_length_up_to_the_free_size(examples):
    """Variable features have 0 to `free_size` values, and each length occurs."""
    lengths = {len(each["steps"].int64_list.value) for each in examples if "steps" in each}

    assert lengths == {0, 1, 2, 3, 4}


def test_features_with_a_default_or_of_any_length_are_missing_at_times(examples):
    """Optional features are missing in about three of ten Examples; required ones never are."""
    share = {
        key: np.mean([key not in each for each in examples])
        for key in ("floats", "integers", "words", "steps", "default")
    }

    assert share["floats"] == share["integers"] == share["words"] == 0
    assert 0.2 < share["steps"] < 0.4
    assert 0.2 < share["default"] < 0.4
