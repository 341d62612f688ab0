import json
from dataclasses import replace

import numpy as np
import pytest

from serving.errors import InvalidInput
from serving.tensors.signature import DataType, Signature, TensorSpec


def spec(
    name: str, shape: tuple[int, ...] | None, dtype: DataType = DataType.DT_FLOAT
) -> TensorSpec:
    return TensorSpec(dtype=dtype, shape=shape, tensor=name, graph_name=f"serving_default_{name}:0")


TWO_BY_TWO = Signature(
    method_name="tensorflow/serving/predict",
    file="model.onnx",
    inputs={"b": spec("b", (-1, 4)), "a": spec("a", (-1, 4))},
    outputs={"y": spec("y", (-1,)), "x": spec("x", (-1,))},
)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["c", "b", "a"],
            (
                "input size does not match signature: 3!=2 len({a,b,c}) != len({a,b}). "
                "Sent extra: {c}. Missing but required: {}"
            ),
        ),
        (
            ["b"],
            (
                "input size does not match signature: 1!=2 len({b}) != len({a,b}). "
                "Sent extra: {}. Missing but required: {a}"
            ),
        ),
        (
            ["z", "b"],
            (
                "Signature input alias: a(feed name: serving_default_a:0) not found in request "
                "and no default value provided. Inputs expected to be in the request {b,z}, "
                "or default input alias set: "
            ),
        ),
    ],
)
def test_wrong_input_names_get_tensorflow_servings_message(names, message):
    """The name sets are sorted and joined by commas, as in predict_util.cc."""
    with pytest.raises(InvalidInput) as caught:
        TWO_BY_TWO.check_input_names(names)

    takes = "This signature takes a DT_FLOAT of shape (-1, 4), b DT_FLOAT of shape (-1, 4)"
    assert caught.value.message == f"{message}. {takes}"


def test_the_right_names_pass_in_any_order():
    """Inputs are matched by name, not by position."""
    TWO_BY_TWO.check_input_names(["b", "a"])


@pytest.mark.parametrize(
    ("output_filter", "message"),
    [
        (["z"], "output tensor alias not found in signature: z Outputs expected to be in the set"),
        (["x", "x"], "duplicate output tensor alias: x"),
    ],
)
def test_wrong_output_filters_get_tensorflow_servings_message(output_filter, message):
    """Unknown and repeated outputs are refused by name."""
    with pytest.raises(InvalidInput) as caught:
        TWO_BY_TWO.select_outputs(output_filter)

    assert caught.value.message.startswith(message)


def test_an_empty_output_filter_selects_every_output():
    """No filter means all outputs."""
    assert TWO_BY_TWO.select_outputs([]) == ["y", "x"]
    assert TWO_BY_TWO.select_outputs(["x"]) == ["x"]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 4)), "Expects arg[1] to be float but double is provided"),
        (np.zeros((1, 5), np.float32), 'input "b" of m/1 has shape (1, 5), expected (-1, 4)'),
        (np.zeros(4, np.float32), "add the batch dimension"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(array, message):
    """dtype, rank and sizes are checked before a request may meet others in a batch."""
    with pytest.raises(InvalidInput) as caught:
        TWO_BY_TWO.check_inputs({"b": array}, TWO_BY_TWO.inputs, "m/1")

    assert message in caught.value.message


@pytest.mark.parametrize(
    ("declared", "shape", "hint"),
    [
        ((-1, -1), (4,), True),
        ((-1, 4), (5,), False),
        ((1, 2, 3), (2, 3), True),
        ((-1, 4), (), False),
        ((), (1,), False),
    ],
)
def test_the_hint_at_a_batch_dimension_is_given_where_it_helps(declared, shape, hint):
    """Only a tensor that lacks nothing but its first dimension is told to add one."""
    with pytest.raises(InvalidInput) as caught:
        TWO_BY_TWO.check_inputs(
            {"b": np.zeros(shape, np.float32)}, {"b": spec("b", declared)}, "m/1"
        )

    assert caught.value.message.startswith(f'input "b" of m/1 has shape {shape}, expected ')
    assert ("add the batch dimension" in caught.value.message) is hint


@pytest.mark.parametrize(
    ("declared", "shapes"),
    [
        ((-1, 4), [(), (4,), (1, 4, 1), (4, 1, 4), (1, 1, 4)]),
        ((-1, -1), [(), (4,), (1, 4, 1)]),
        ((2, 4), [(), (2,), (2, 4, 1), (1, 2, 4)]),
        ((-1,), [(), (4, 1), (1, 4)]),
        ((), [(1,), (1, 1)]),
    ],
)
def test_a_tensor_of_another_rank_is_refused(declared, shapes):
    """Whether sizes are fixed or free, and whichever of its dimensions would fit."""
    for shape in shapes:
        with pytest.raises(InvalidInput, match=r"has shape .*, expected "):
            TWO_BY_TWO.check_inputs(
                {"b": np.zeros(shape, np.float32)}, {"b": spec("b", declared)}, "m/1"
            )


@pytest.mark.parametrize("shape", [(), (4,), (2, 2), (0, 4), (3, 4, 1)])
def test_the_shape_of_the_signature_is_documentation(shape):
    """What the graph declares decides; where it declares no rank, any shape goes."""
    is_described = TWO_BY_TWO.check_inputs(
        {"b": np.zeros(shape, np.float32)}, {"b": spec("b", None)}, "m/1"
    )

    assert is_described is (shape == (0, 4))


@pytest.mark.parametrize(
    ("shapes", "is_batch"),
    [
        ({"a": (2, 4), "b": (2, 4)}, True),
        ({"a": (2, 4), "b": (3, 4)}, False),
        ({"a": (0, 4), "b": (0, 4)}, False),
        ({"a": (2, 4), "b": (2, 5)}, False),
        ({"a": (2, 4), "b": (2, 4, 1)}, False),
        ({"a": (2, 4), "b": ()}, False),
        ({}, False),
    ],
)
def test_a_batch_has_as_many_rows_of_every_input(shapes, is_batch):
    """Rows are what the signature describes; anything else is not put together with others."""
    arrays = {alias: np.zeros(shape, np.float32) for alias, shape in shapes.items()}

    assert TWO_BY_TWO.is_batch(arrays) is is_batch


def test_signatures_survive_signature_json():
    """What is written to signature.json is what is read."""
    assert Signature.from_json(TWO_BY_TWO.to_json()) == TWO_BY_TWO


UNKNOWN = Signature(
    method_name="tensorflow/serving/predict",
    file="model.onnx",
    inputs={"b": spec("b", (-1, 4)), "a": spec("a", None)},
    outputs={"y": spec("y", (-1,))},
)


@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 0, 5)])
def test_an_unknown_rank_takes_tensors_of_any(shape):
    """Only the dtype is checked."""
    UNKNOWN.check_inputs({"a": np.zeros(shape, np.float32)}, UNKNOWN.inputs, "m/1")

    with pytest.raises(InvalidInput, match="takes DT_FLOAT of any rank; convert it"):
        UNKNOWN.check_inputs({"a": np.zeros(shape)}, UNKNOWN.inputs, "m/1")


def test_an_unknown_rank_is_never_batched():
    """Nobody knows whether its first dimension counts rows."""
    assert TWO_BY_TWO.has_rows
    assert not UNKNOWN.has_rows


def test_an_unknown_rank_is_null_in_signature_json():
    """It survives, and `known_shape` says what is missing."""
    assert UNKNOWN.to_json()["inputs"]["a"]["shape"] is None
    assert Signature.from_json(UNKNOWN.to_json()) == UNKNOWN
    with pytest.raises(ValueError, match="tensor a has an unknown rank, expected one entry"):
        _ = UNKNOWN.inputs["a"].known_shape


WITH_DEFAULTS = replace(
    TWO_BY_TWO,
    inputs=TWO_BY_TWO.inputs | {"s": spec("s", (), DataType.DT_STRING)},
    defaults={
        "b": np.array([[1, np.nan, 3, -0.0]], np.float32),
        "s": np.array(b"gr\xffn", object),
    },
)


def test_inputs_with_a_default_may_be_left_out():
    """Only the others are required."""
    assert WITH_DEFAULTS.required_inputs == {"a"}
    for names in (["a"], ["s", "a"], ["b", "a"], ["a", "b", "s"]):
        WITH_DEFAULTS.check_input_names(names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["b"],
            (
                "Signature input alias: a(feed name: serving_default_a:0) not found in request "
                "and no default value provided. Inputs expected to be in the request {b}, "
                "or default input alias set: b,s"
            ),
        ),
        (
            ["a", "z"],
            ("Inputs contains invalid name. Used request inputs: a, request input: a,z"),
        ),
        (
            ["a", "b", "s", "z"],
            (
                "input size does not match signature: 4!=3 len({a,b,s,z}) != len({a,b,s}). "
                "Sent extra: {z}. Missing but required: {}"
            ),
        ),
    ],
)
def test_wrong_input_names_beside_defaults_get_tensorflows_message(names, message):
    """As GetInputValues says it, and the size check of predict_util.cc before."""
    with pytest.raises(InvalidInput) as caught:
        WITH_DEFAULTS.check_input_names(names)

    assert caught.value.message.startswith(f"{message}. This signature takes a DT_")
    assert ", b DT_" in caught.value.message
    assert caught.value.message.count(" (optional)") == len(WITH_DEFAULTS.defaults)


def test_a_default_needs_an_input_of_its_dtype():
    """A default that no request could use is a mistake of whoever wrote it."""
    for alias, array in (("z", np.zeros((1, 4), np.float32)), ("b", np.zeros((1, 4)))):
        with pytest.raises(ValueError, match=f'for "{alias}", expected one for an input: b DT_'):
            replace(TWO_BY_TWO, defaults={alias: array})


def test_defaults_survive_signature_json():
    """dtype, shape and every value come back, strings of any bytes and NaN too."""
    text = json.dumps(WITH_DEFAULTS.to_json())

    defaults = Signature.from_json(json.loads(text)).defaults

    assert defaults["b"].dtype == np.float32
    np.testing.assert_array_equal(defaults["b"], WITH_DEFAULTS.defaults["b"])
    assert defaults["s"].shape == ()
    assert defaults["s"][()] == b"gr\xffn"
    assert not defaults["b"].flags.writeable
