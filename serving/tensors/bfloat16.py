"""bfloat16: an element type with the upper 16 bits of a float32, which NumPy does not have.

Arrays of bfloat16 have the dtype `BFLOAT16`, a record of 16 bits: NumPy can copy, slice and
concatenate such arrays and return their bytes, and does not treat them as integers. Calculations
and output as text use float32, which represents every bfloat16 exactly. With `ml_dtypes`, which
TensorFlow and JAX install, `array.view(ml_dtypes.bfloat16)` views the same array as numbers.
"""

from typing import Any

import numpy as np

BFLOAT16: np.dtype[Any] = np.dtype([("bfloat16", "<u2")])
MAX = float.fromhex("0x1.fep127")  # the largest finite value
_QUIET_NAN = 0x40  # the highest bit of the mantissa


def is_foreign(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype is the bfloat16 of `ml_dtypes`, which has the same bits."""
    return dtype.name == "bfloat16" and dtype.itemsize == BFLOAT16.itemsize


def from_floats(values: np.ndarray) -> np.ndarray:
    """Round floats to the nearest bfloat16, ties to even.

    Args:
        values: Floats of any shape; float64 is rounded to float32 first. NaN stays NaN, and values
            that round beyond `MAX` become infinity.

    Returns:
        An array of `BFLOAT16` of the same shape.
    """
    floats = np.asarray(values, "<f4")
    bits = floats.view("<u4")
    upper = bits >> 16
    # The sum carries into the upper 16 bits if the lower 16 bits are more than one half, or exactly
    # one half and the upper 16 bits are odd.
    rounded = (bits.astype(np.uint64) + 0x7FFF + (upper & 1)) >> 16
    result = np.where(np.isnan(floats), upper | _QUIET_NAN, rounded).astype("<u2")
    return result.view(BFLOAT16)


def to_floats(array: np.ndarray) -> np.ndarray:
    """Convert an array of `BFLOAT16` to float32 exactly; return any other array unchanged."""
    if array.dtype != BFLOAT16:
        return array
    bits = array.view("<u2").astype("<u4") << 16
    return np.asarray(bits.view("<f4"), np.float32)
