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
    """Wrong input names get predict_util.cc's message, with sorted names joined by commas."""
    with pytest.raises(InvalidInput) as caught:
        TWO_BY_TWO.check_input_names(names)

    takes = "This signature takes a DT_FLOAT of shape (-1, 4), b DT_FLOAT of shape (-1, 4)"
    assert caught.value.message == f"{message}. {takes}"


def test_the_right_names_pass_in_any_order():
    """Inputs are matched by name, in any order."""
    TWO_BY_TWO.check_input_names(["b", "a"])


@pytest.mark.parametrize(
    ("output_filter", "message"),
    [
        (["z"], "output tensor alias not found in signature: z Outputs expected to be in the set"),
        (["x", "x"], "duplicate output tensor alias: x"),
    ],
)
def test_wrong_output_filters_get_tensorflow_servings_message(output_filter, message):
    """Unknown and repeated output names are refused with TensorFlow Serving's messages."""
    with pytest.raises(InvalidInput) as caught:
        TWO_BY_TWO.select_outputs(output_filter)

    assert caught.value.message.startswith(message)


def test_an_empty_output_filter_selects_every_output():
    """An empty output filter selects every output of the signature."""
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
    """A wrong dtype, rank or size is refused before a request may join a batch."""
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
    """Only a tensor that lacks just its first dimension gets the hint to add a batch dimension."""
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
    """A tensor of another rank is refused, whether the declared sizes are fixed or free."""
    for shape in shapes:
        with pytest.raises(InvalidInput, match=r"has shape .*, expected "):
            TWO_BY_TWO.check_inputs(
                {"b": np.zeros(shape, np.float32)}, {"b": spec("b", declared)}, "m/1"
            )


@pytest.mark.parametrize("shape", [(), (4,), (2, 2), (0, 4), (3, 4, 1)])
def test_the_shape_of_the_signature_is_documentation(shape):
    """Where the graph declares no rank, any shape is accepted, whatever the signature says.

    `check_inputs` returns whether the tensor has the signature's shape.
    """
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
    """A request is a batch if its inputs have the signature's shapes and equally many rows."""
    arrays = {alias: np.zeros(shape, np.float32) for alias, shape in shapes.items()}

    assert TWO_BY_TWO.is_batch(arrays) is is_batch


def test_signatures_survive_signature_json():
    """A signature is the same after a round trip through JSON."""
    assert Signature.from_json(TWO_BY_TWO.to_json()) == TWO_BY_TWO


UNKNOWN = Signature(
    method_name="tensorflow/serving/predict",
    file="model.onnx",
    inputs={"b": spec("b", (-1, 4)), "a": spec("a", None)},
    outputs={"y": spec("y", (-1,))},
)


@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 0, 5)])
def test_an_unknown_rank_takes_tensors_of_any(shape):
    """An input of unknown rank takes tensors of any rank; their dtype is checked."""
    UNKNOWN.check_inputs({"a": np.zeros(shape, np.float32)}, UNKNOWN.inputs, "m/1")

    with pytest.raises(InvalidInput, match="takes DT_FLOAT of any rank; convert it"):
        UNKNOWN.check_inputs({"a": np.zeros(shape)}, UNKNOWN.inputs, "m/1")


def test_an_unknown_rank_is_never_batched():
    """A signature with an input of unknown rank has no rows, so it never batches.

    Its first dimension may not count rows.
    """
    assert TWO_BY_TWO.has_rows
    assert not UNKNOWN.has_rows


def test_an_unknown_rank_is_null_in_signature_json():
    """An unknown rank is null in JSON and is read back; `known_shape` raises ValueError."""
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
    """Inputs without a default are required; inputs with one may be left out."""
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
    """Wrong names beside defaults get the messages of GetInputValues and predict_util.cc."""
    with pytest.raises(InvalidInput) as caught:
        WITH_DEFAULTS.check_input_names(names)

    assert caught.value.message.startswith(f"{message}. This signature takes a DT_")
    assert ", b DT_" in caught.value.message
    assert caught.value.message.count(" (optional)") == len(WITH_DEFAULTS.defaults)


def test_a_default_needs_an_input_of_its_dtype():
    """A default for an unknown input or of another dtype than its input's is a ValueError."""
    for alias, array in (("z", np.zeros((1, 4), np.float32)), ("b", np.zeros((1, 4)))):
        with pytest.raises(ValueError, match=f'for "{alias}", expected one for an input: b DT_'):
            replace(TWO_BY_TWO, defaults={alias: array})


def test_defaults_survive_signature_json():
    """Defaults keep their dtype, shape and values through JSON, also NaN and non-UTF-8 strings."""
    text = json.dumps(WITH_DEFAULTS.to_json())

    defaults = Signature.from_json(json.loads(text)).defaults

    assert defaults["b"].dtype == np.float32
    np.testing.assert_array_equal(defaults["b"], WITH_DEFAULTS.defaults["b"])
    assert defaults["s"].shape == ()
    assert defaults["s"][()] == b"gr\xffn"
    assert not defaults["b"].flags.writeable
