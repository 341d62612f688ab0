import numpy as np
import pytest

from serving.engine import made_up_inputs
from serving.tensors.signature import DataType, TensorSpec


def spec(*shape, dtype=DataType.DT_FLOAT):
    return TensorSpec(dtype=dtype, shape=shape, tensor="x", graph_name="x")


def shapes(*specs, rows=2):
    named = dict(zip("abc", specs, strict=False))
    return [
        tuple(array.shape for array in inputs.values())
        for inputs in made_up_inputs.zeros(named, rows)
    ]


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        ([spec(-1, 3)], [((2, 3),)]),
        ([spec(5, 3), spec()], [((5, 3), ())]),
        ([spec(-1, 0)], [((2, 0),)]),
        ([], [()]),
        (
            [spec(-1, -1, 3), spec(-1)],
            [((2, size, 3), (2,)) for size in made_up_inputs.FREE_SIZES],
        ),
    ],
    ids=["batch", "fixed", "declared zero", "no inputs", "free"],
)
def test_declared_sizes_stay_and_free_ones_are_tried(specs, expected):
    """Declared sizes are kept; if another dimension than the batch is free, sizes are tried."""
    assert shapes(*specs) == expected


def test_there_is_no_made_up_text():
    """No inputs are made up for a signature with strings: no text suits every model."""
    assert shapes(spec(-1), spec(-1, dtype=DataType.DT_STRING)) == []


def test_inputs_stay_small():
    """Candidates that would be too large are left out, but never the smallest candidate.

    Four free dimensions of 224 would make an input of 10 GB.
    """
    candidates = shapes(spec(-1, -1, -1, -1, -1))

    assert [shape[1] for (shape,) in candidates] == [1, 8, 32]
    assert len(shapes(spec(-1, -1, 1 << 26))) == 1


def test_an_unknown_rank_gets_two_dimensions():
    """An input of unknown rank gets two dimensions: the batch and one of free size."""
    unknown = TensorSpec(dtype=DataType.DT_INT32, shape=None, tensor="x", graph_name="x")
    first, second, *_ = made_up_inputs.zeros({"x": unknown}, 3)

    assert (first["x"].shape, second["x"].shape) == ((3, 1), (3, 8))
    assert first["x"].dtype == np.int32
