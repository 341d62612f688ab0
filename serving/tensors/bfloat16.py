"""bfloat16: the upper 16 bits of a float32, an element type that NumPy does not have.

Arrays of it have the dtype `BFLOAT16`, a record of the 16 bits: NumPy can copy, slice and
concatenate them and give their bytes, and does not mistake them for integers. Calculating and
writing as text goes by way of float32, which holds every bfloat16 exactly. With `ml_dtypes`, which
TensorFlow and JAX bring, `array.view(ml_dtypes.bfloat16)` is the same array as numbers.
"""

from typing import Any

import numpy as np

BFLOAT16: np.dtype[Any] = np.dtype([("bfloat16", "<u2")])
MAX = float.fromhex("0x1.fep127")  # the largest finite value
_QUIET_NAN = 0x40  # the highest bit of the mantissa


def is_foreign(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is bfloat16 as `ml_dtypes` adds it to NumPy: the same bits."""
    return dtype.name == "bfloat16" and dtype.itemsize == BFLOAT16.itemsize


def from_floats(values: np.ndarray) -> np.ndarray:
    """Floats rounded to the nearest bfloat16, halves to the even one.

    Args:
        values: Of any shape; those of float64 become float32 first. NaN stays NaN, and what is
            beyond `MAX` becomes infinity.

    Returns:
        An array of `BFLOAT16` of the same shape.
    """
    floats = np.asarray(values, "<f4")
    bits = floats.view("<u4")
    upper = bits >> 16
    # To add this carries into the upper half where the lower one is more than half, or half and
    # the upper one odd.
    rounded = (bits.astype(np.uint64) + 0x7FFF + (upper & 1)) >> 16
    result = np.where(np.isnan(floats), upper | _QUIET_NAN, rounded).astype("<u2")
    return result.view(BFLOAT16)


def to_floats(array: np.ndarray) -> np.ndarray:
    """An array of `BFLOAT16` as float32 of the same values; any other array as it is."""
    if array.dtype != BFLOAT16:
        return array
    bits = array.view("<u2").astype("<u4") << 16
    return np.asarray(bits.view("<f4"), np.float32)
