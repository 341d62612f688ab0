"""Random arrays and tf.Examples for the inputs of a signature."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.protos.tensorflow_example_pb2 import Example
from serving.tensors.feature_spec import FeatureKind
from serving.tensors.signature import DataType, Signature, TensorSpec

# Integers are often indices into a table, so random integers are at most 9. If TensorFlow refuses
# those, they are at most 1, for tables of two rows. 8-bit integers are often pixels: all values.
LARGEST_INTEGERS = (9, 1)
_MISSING_SHARE = 0.3


def sizes_of(
    shape: tuple[int, ...] | None, *, rows: int, free_size: int, rank: int
) -> tuple[int, ...]:
    """A shape without free dimensions; see random_array."""
    return tuple(
        size if size != -1 else (free_size if position else rows)
        for position, size in enumerate((-1,) * rank if shape is None else shape)
    )


def random_array(
    spec: TensorSpec,
    random: np.random.Generator,
    *,
    rows: int,
    free_size: int,
    rank: int = 1,
    largest: int = LARGEST_INTEGERS[0],
) -> npt.NDArray[Any]:
    """Random values for one input.

    Args:
        spec: Dtype and shape of the input.
        random: Source of randomness.
        rows: Size of a free first dimension.
        free_size: Size of any other free dimension.
        rank: Number of dimensions, all of them free, if the spec has no rank.
        largest: The largest integer for integer types of more than 8 bits.

    Returns:
        An array without free dimensions, of the spec's dtype.
    """
    shape = sizes_of(spec.shape, rows=rows, free_size=free_size, rank=rank)
    dtype = spec.dtype.numpy
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        if dtype.itemsize == 1:
            limits = np.iinfo(dtype)
            return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        return random.integers(0, largest, shape, dtype, endpoint=True)
    return random.standard_normal(shape).astype(dtype)


def random_examples(
    signature: Signature,
    random: np.random.Generator,
    *,
    rows: int,
    free_size: int,
    largest: int = LARGEST_INTEGERS[0],
) -> npt.NDArray[Any]:
    """Random tf.Examples. Features with a default may be missing; variable features vary in length.

    Args:
        signature: Signature with a feature spec.
        random: Source of randomness.
        rows: Number of examples.
        free_size: Largest number of steps of a variable feature.
        largest: The largest integer.

    Returns:
        Serialized examples, dtype object, shape (rows,).
    """
    examples = np.empty(rows, dtype=object)
    for row in range(rows):
        example = Example()
        for spec in signature.feature_spec.values():
            variable = spec.kind is FeatureKind.VARIABLE
            if (variable or spec.default is not None) and random.random() < _MISSING_SHARE:
                continue
            steps = int(random.integers(0, free_size + 1)) if variable else 1
            feature = example.features.feature[spec.key]
            shape = (steps * spec.elements,)
            flat = replace(spec.tensor, shape=shape)
            if spec.tensor.dtype is DataType.DT_STRING:
                feature.bytes_list.value.extend(_word(random) for _ in range(shape[0]))
            elif spec.tensor.dtype is DataType.DT_INT64:
                values = random_array(flat, random, rows=rows, free_size=free_size, largest=largest)
                feature.int64_list.value.extend(values.tolist())
            else:
                values = random_array(flat, random, rows=rows, free_size=free_size)
                feature.float_list.value.extend(values.tolist())
        examples[row] = example.SerializeToString()
    return examples


def _word(random: np.random.Generator) -> bytes:
    # Letters only: strings in ONNX are text, and the server refuses other bytes.
    return bytes(random.integers(ord("a"), ord("z"), 3, np.uint8, endpoint=True))
