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
                "Sent extra: {c}. Missing but required: {}."
            ),
        ),
        (
            ["b"],
            (
                "input size does not match signature: 1!=2 len({b}) != len({a,b}). "
                "Sent extra: {}. Missing but required: {a}."
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

    assert caught.value.message == message


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
        (np.zeros((0, 4), np.float32), "the batch is empty"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(array, message):
    """dtype, rank and sizes are checked before a request may meet others in a batch."""
    with pytest.raises(InvalidInput) as caught:
        TWO_BY_TWO.check_input("b", array, "m/1", batched=True)

    assert message in caught.value.message


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
    UNKNOWN.check_input("a", np.zeros(shape, np.float32), "m/1", batched=False)

    with pytest.raises(InvalidInput, match="takes DT_FLOAT of any rank; convert it"):
        UNKNOWN.check_input("a", np.zeros(shape), "m/1", batched=False)


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


def test_only_a_batch_needs_rows():
    """A graph that runs alone may say itself what it makes of none."""
    UNKNOWN.check_input("b", np.zeros((0, 4), np.float32), "m/1", batched=False)
    with pytest.raises(InvalidInput, match="the batch is empty, expected at least one row"):
        UNKNOWN.check_input("b", np.zeros((0, 4), np.float32), "m/1", batched=True)
