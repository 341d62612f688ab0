"""Made-up inputs for a graph that nobody has called yet: shapes and values that it may take."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from serving.tensors import bfloat16
from serving.tensors.bfloat16 import BFLOAT16
from serving.tensors.tensor_spec import DataType, TensorSpec

# Sizes to try for free dimensions other than the batch. A text model takes any; a convolutional net
# with free height and width wants more than its kernels, a U-Net a multiple of its strides, and a
# pre-trained classifier its own size.
FREE_SIZES = (1, 8, 32, 64, 224)
SAMPLES = 16_000  # a second of sound
# Most bytes of one input with a free size above the smallest: 224 in each of four free dimensions
# would be 10 GB.
MAX_BYTES = 64 << 20
# How much larger the outlier among the revealing rows is.
OUTLIER = 1000
_HALF_MAX = 60_000  # below the largest half float


def shape(spec: TensorSpec, rows: int, free_size: int) -> tuple[int, ...]:
    """One shape that a spec allows; sizes that it declares stay, zero too.

    Args:
        spec: The input; one of unknown rank gets two dimensions.
        rows: Size of a free first dimension.
        free_size: Size of every other free dimension.
    """
    return tuple(
        size if size != -1 else (free_size if position else rows)
        for position, size in enumerate(_sizes(spec))
    )


def zeros(specs: Mapping[str, TensorSpec], rows: int) -> Iterator[dict[str, np.ndarray]]:
    """Inputs of zeros by alias, once for each size of the free dimensions that is worth a try.

    Nothing if an input takes strings: there is no text that every model understands.

    Args:
        specs: The inputs.
        rows: Size of a free first dimension.
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
    """Sizes for graphs that refuse all smaller ones, if 64 such rows are no more than MAX_BYTES."""
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
    """Rows that give a graph away that mixes them.

    Random values, and among them a row a thousand times as large, one of zeros, and two equal ones.

    Args:
        random: Source of randomness.
        shape: The first entry is the number of rows.
        dtype: Of the values; `BFLOAT16` too.
        scale: Size of floats.
        integers: Largest integer.
        seed: Chooses what stands in batches that are too small for all of it.
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
    """The rows that give mixing away, in an order that begins with another one for each seed."""
    if len(values) == 1:
        return
    twin = values[-1].copy()
    rows = [[outlier], [np.zeros_like(outlier)], [twin, twin]]
    for group in rows[seed % len(rows) :] + rows[: seed % len(rows)]:
        yield from group
