"""Made-up inputs for a graph nobody has called yet: shapes that its free dimensions may have."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from serving.tensors.tensor_spec import DataType, TensorSpec

# Sizes to try for free dimensions other than the batch. A text model takes any; a convolutional net
# with free height and width wants more than its kernels, a U-Net a multiple of its strides, and a
# pre-trained classifier its own size.
FREE_SIZES = (1, 8, 32, 64, 224)
# Most bytes of one input with a free size above the smallest: 224 in each of four free dimensions
# would be 10 GB.
MAX_BYTES = 64 << 20


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


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    return (-1, -1) if spec.shape is None else spec.shape
