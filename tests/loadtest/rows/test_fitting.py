import numpy as np
import pytest

from loadtest.rows import fitting
from loadtest.settings.config import UsageError
from loadtest.transports.api import ModelInput

BATCHED = (-1, 3)


def fit(arrays, *inputs, batch=2):
    return fitting.fit(arrays, inputs or None, model="m", batch=batch, where="rows.npz")


def test_arrays_hold_what_the_inputs_can():
    """Integers fit floats and narrower integers; only text is converted, to bytes."""
    _, arrays, rows = fit(
        {
            "a": np.array([[1, 2, 3]] * 4),
            "b": np.arange(4),
            "c": np.array(["é", "b", "c", "d"]),
            "d": np.array([True] * 4),
            "e": np.full((4, 2), 1.5),
            "f": np.array(7, np.int64),
        },
        ModelInput("a", "float32", BATCHED),
        ModelInput("b", "uint8", (-1,)),
        ModelInput("c", "string", (-1,)),
        ModelInput("d", "bool", None),
        ModelInput("e", "bfloat16", (-1, -1)),
        ModelInput("f", "int32", ()),
        batch=1,
    )

    assert rows == 4
    assert {name: array.dtype.name for name, array in arrays.items()} == {
        "a": "int64",
        "b": "int64",
        "c": "object",
        "d": "bool",
        "e": "float64",
        "f": "int64",
    }
    assert arrays["c"][0] == "é".encode()
    assert arrays["f"].shape == ()


def test_without_metadata_the_inputs_are_those_of_the_arrays():
    """Names, dtypes and shapes of the arrays become the inputs; the first dimension is free."""
    inputs, _, rows = fit({"x": np.zeros((4, 3), np.float32), "t": np.array(["a"] * 4)})

    assert inputs == (ModelInput("x", "float32", BATCHED), ModelInput("t", "string", (-1,)))
    assert rows == 4


def test_values_without_a_name_are_the_only_input():
    """A value alone in each row belongs to the only input of the model."""
    _, arrays, _ = fit({"": np.ones((2, 3))}, ModelInput("x", "float32", BATCHED))

    assert list(arrays) == ["x"]


X = ModelInput("x", "float32", BATCHED)


@pytest.mark.parametrize(
    ("arrays", "inputs", "words"),
    [
        pytest.param({"y": np.ones((2, 3))}, [X], "input \"y\", but model 'm' takes", id="name"),
        pytest.param({}, [X], "no input, but", id="nothing"),
        pytest.param(
            {"x": np.ones((2, 4))}, [X], r"shape \(2, 4\), expected \(-1, 3\)", id="shape"
        ),
        pytest.param({"x": np.array(["a"])}, [ModelInput("x", "int8", (-1,))], "texts", id="text"),
        pytest.param(
            {"x": np.array([1.5])},
            [ModelInput("x", "int8", (-1,))],
            "float64, expected",
            id="float",
        ),
        pytest.param(
            {"x": np.array([300])}, [ModelInput("x", "uint8", (-1,))], "300, expected 0", id="range"
        ),
        pytest.param(
            {"x": np.array([-1])}, [ModelInput("x", "uint64", (-1,))], "-1 to -1", id="negative"
        ),
        pytest.param(
            {"x": np.ones((2, 3)), "y": np.ones((3, 3))},
            [X, ModelInput("y", "float32", BATCHED)],
            '"x" 2, "y" 3',
            id="rows",
        ),
        pytest.param({"x": np.ones((0, 3))}, [X], "no rows", id="empty"),
        pytest.param(
            {"x": np.ones((3, 3))}, [ModelInput("x", "float32", (2, 3))], "multiple of 2", id="part"
        ),
        pytest.param(
            {"x": np.ones((8, 3))}, [ModelInput("x", "float32", (4, 3))], "--batch 4", id="batch"
        ),
        pytest.param(
            {"x": np.ones(())}, [ModelInput("x", "float32", ())], "--batch 1", id="scalar"
        ),
        pytest.param(
            {"x": np.array(["a", 1], object)},
            [ModelInput("x", "string", (-1,))],
            "1 among",
            id="mix",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_the_reason(arrays, inputs, words):
    """The message names the input, what was received and what was expected."""
    with pytest.raises(UsageError, match=words):
        fit(arrays, *inputs)
