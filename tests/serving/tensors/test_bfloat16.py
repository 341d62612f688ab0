"""Tests of bfloat16 in NumPy: the bits equal those of ml_dtypes, which TensorFlow uses."""

import ml_dtypes
import numpy as np
import pytest

from serving.errors import InvalidInput
from serving.tensors import bfloat16
from serving.tensors.bfloat16 import BFLOAT16
from serving.tensors.tensor_spec import DataType

EVERY = np.arange(1 << 16, dtype=np.uint16).view(BFLOAT16)


def test_floats_are_rounded_as_ml_dtypes_does():
    """float32 rounds to the same bfloat16 as in ml_dtypes: random bits, halves, overflow, NaN."""
    halves = (np.arange(1 << 16, dtype=np.uint32) << 16) + 0x8000
    drawn = np.random.default_rng(0).integers(0, 1 << 32, 200_000, np.uint32)
    floats = np.concatenate([halves, halves - 1, halves + 1, drawn]).view(np.float32)
    with np.errstate(invalid="ignore"):
        expected = floats.astype(ml_dtypes.bfloat16)

    rounded = bfloat16.from_floats(floats)

    numbers = ~np.isnan(floats)
    assert rounded.dtype == BFLOAT16
    assert (rounded[numbers] == expected[numbers].view(BFLOAT16)).all()
    assert np.isnan(bfloat16.to_floats(rounded[~numbers])).all()


def test_float32_holds_each_of_them():
    """Every bfloat16 except NaN is the same after conversion to float32 and back."""
    floats = bfloat16.to_floats(EVERY)

    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats, EVERY.view(ml_dtypes.bfloat16).astype(np.float32))
    assert (bfloat16.from_floats(floats) == EVERY)[~np.isnan(floats)].all()
    assert float(ml_dtypes.finfo(ml_dtypes.bfloat16).max) == bfloat16.MAX


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 1, 2)])
def test_shapes_are_kept(shape):
    """Shapes are kept, also of scalars, which NumPy tends to convert."""
    rounded = bfloat16.from_floats(np.ones(shape, np.float32))

    assert rounded.shape == bfloat16.to_floats(rounded).shape == shape


def test_views_need_not_be_contiguous():
    """Broadcast and reversed arrays are converted correctly."""
    one = np.broadcast_to(bfloat16.from_floats(np.array(2.5)), (3, 2))
    rows = bfloat16.from_floats(np.float32([[1, 2], [3, 4]]))[::-1]

    assert bfloat16.to_floats(one).tolist() == [[2.5, 2.5]] * 3
    assert bfloat16.to_floats(rows).tolist() == [[3, 4], [1, 2]]


def test_other_arrays_stay_as_they_are():
    """uint16 arrays are returned unchanged: they are not bfloat16."""
    integers = np.uint16([1, 2])

    assert bfloat16.to_floats(integers) is integers
    assert DataType.from_numpy(integers.dtype) is DataType.DT_UINT16


def test_two_dtypes_are_bfloat16():
    """The server's own dtype and ml_dtypes' are DT_BFLOAT16; other two-byte dtypes are refused."""
    assert DataType.from_numpy(BFLOAT16) is DataType.DT_BFLOAT16
    assert DataType.from_numpy(np.dtype(ml_dtypes.bfloat16)) is DataType.DT_BFLOAT16
    for other in (np.dtype([("x", "<u2")]), np.dtype("V2"), np.dtype(ml_dtypes.float8_e5m2)):
        with pytest.raises(InvalidInput, match=r"has no tensor type; .*bfloat16, bytes"):
            DataType.from_numpy(other)
