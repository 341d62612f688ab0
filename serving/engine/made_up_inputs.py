"""Made-up inputs to run a graph before its first request: shapes and values that may suit it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from serving.tensors import bfloat16
from serving.tensors.bfloat16 import BFLOAT16
from serving.tensors.tensor_spec import DataType, TensorSpec

# Sizes to try for free dimensions other than the batch. A text model takes any size; a
# convolutional net with free height and width needs sizes above those of its kernels, a U-Net needs
# multiples of its strides, and a pre-trained classifier needs its training size.
FREE_SIZES = (1, 8, 32, 64, 224)
SAMPLES = 16_000  # a second of sound
# Limit in bytes for one input whose free dimensions are larger than the smallest of FREE_SIZES: 224
# in each of four free dimensions would be 10 GB.
MAX_BYTES = 64 << 20
# Factor by which the outlier row of `revealing_rows` is larger than the other rows.
OUTLIER = 1000
_HALF_MAX = 60_000  # below the largest float16, 65504


def shape(spec: TensorSpec, rows: int, free_size: int) -> tuple[int, ...]:
    """Return a shape that a spec allows. Declared sizes stay as they are, also a size of zero.

    Args:
        spec: Spec of the input. An input of unknown rank gets two dimensions.
        rows: Size of the first dimension if it is free.
        free_size: Size of every other free dimension.
    """
    return tuple(
        size if size != -1 else (free_size if position else rows)
        for position, size in enumerate(_sizes(spec))
    )


def zeros(specs: Mapping[str, TensorSpec], rows: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield inputs of zeros by alias, once for each size to try for the free dimensions.

    Yields nothing if an input takes strings: no text suits every model.

    Args:
        specs: Specs of the inputs by alias.
        rows: Size of the first dimension if it is free.
    """
    if any(spec.dtype is DataType.DT_STRING for spec in specs.values()):
        return
    is_free = any(-1 in _sizes(spec)[1:] for spec in specs.values())
    for free_size in FREE_SIZES if is_free else FREE_SIZES[:1]:
        shapes = {alias: shape(spec, rows, free_size) for alias, spec in specs.items()}
        if free_size > FREE_SIZES[0] and any(
            math.prod(shapes[alias]) * spec.dtype.numpy.itemsize > MAX_BYTES
            for alias, spec in specs.items()
        ):
            return
        yield {alias: np.zeros(shapes[alias], spec.dtype.numpy) for alias, spec in specs.items()}


def long_sizes(specs: Mapping[str, TensorSpec]) -> tuple[int, ...]:
    """Return sizes to try on graphs that refuse all of FREE_SIZES: a second of sound at 16 kHz.

    Empty if 64 rows of that size would exceed MAX_BYTES.
    """
    rows = [
        math.prod(shape(spec, 64, SAMPLES)) * spec.dtype.numpy.itemsize for spec in specs.values()
    ]
    return (SAMPLES,) if max(rows) <= MAX_BYTES else ()


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    return (-1, -1) if spec.shape is None else spec.shape


def revealing_rows(  # noqa: PLR0917 - one call
    random: np.random.Generator,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    scale: int,
    integers: int,
    seed: int,
) -> np.ndarray:
    """Return a batch on which a graph that mixes rows is likely to show it.

    The rows are random, except for one row that is a thousand times as large, one row of zeros and
    two equal rows.

    Args:
        random: Random number generator.
        shape: Shape of the batch; the first entry is the number of rows.
        dtype: Dtype of the values; may be `BFLOAT16`.
        scale: Standard deviation of floats.
        integers: Largest integer.
        seed: If the batch is too small for all special rows, selects which of them it gets.
    """
    if dtype == BFLOAT16:
        floats = np.dtype(np.float32)
        return bfloat16.from_floats(revealing_rows(random, shape, floats, scale, integers, seed))
    if dtype.kind == "b":
        values = random.integers(0, 2, shape).astype(dtype)
        outlier: np.ndarray = np.ones(shape[1:], dtype)
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if dtype.itemsize == 1:
            integers = max(1, min(limits.max, integers if integers > 9 else scale))
        integers = min(integers, limits.max)
        low = max(limits.min, -integers) if dtype.itemsize == 1 else 0
        values = random.integers(low, integers, shape, dtype, endpoint=True)
        outlier = np.full(shape[1:], limits.max if dtype.itemsize == 1 else integers, dtype)
    else:
        values = (random.standard_normal(shape) * scale).astype(dtype)
        if dtype == np.float16:
            values = np.clip(values, -_HALF_MAX, _HALF_MAX)
            outlier = np.clip(values[:1].astype(np.float32) * OUTLIER, -_HALF_MAX, _HALF_MAX)[0]
        else:
            outlier = values[0] * OUTLIER if shape[0] else np.zeros(shape[1:], dtype)
    special = list(_special(outlier, values, seed))
    places = random.permutation(shape[0])
    for place, row in zip(places, special, strict=False):
        values[place] = row
    return values


def _special(outlier: np.ndarray, values: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield the special rows of `revealing_rows`; the seed selects the row to begin with."""
    if len(values) == 1:
        return
    twin = values[-1].copy()
    rows = [[outlier], [np.zeros_like(outlier)], [twin, twin]]
    for group in rows[seed % len(rows) :] + rows[: seed % len(rows)]:
        yield from group
