"""Parity of a SavedModel and its ONNX graphs on random inputs, where no test data are known."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export import answers
from export.errors import ExportError, GateFailed
from serving.signature import Signature, TensorSpec

SEED = 0
BATCH_SIZES = (1, 5)
# By NumPy dtype: float16 has 10 bits, and runtimes may compute it in float32.
_TOLERANCES = {"float16": (1e-2, 1e-3), "float32": (1e-4, 1e-5), "float64": (1e-4, 1e-5)}
# Integers are often indices, so random ones stay small; bytes are often pixels: all values.
_LARGEST_INTEGER = 9


def check(
    folder: Path, signatures: Mapping[str, Signature], *, free_size: int
) -> list[dict[str, Any]]:
    """Ask TensorFlow and ONNX Runtime the same, with batches of one row and of five.

    Floats are drawn from the standard normal distribution, uint8 and int8 from all their values,
    other integers from 0 to 9; the seed is fixed.

    Args:
        folder: Holds the SavedModel and the graphs that the signatures name.
        signatures: What to ask.
        free_size: Size given to free dimensions other than the batch.

    Returns:
        For metrics.json: an entry for each signature, batch size and output.

    Raises:
        ExportError: TensorFlow itself refuses the random inputs.
        GateFailed: an output differs; names all that do.
    """
    loaded = tf.saved_model.load(str(folder))
    findings: list[dict[str, Any]] = []
    problems: list[str] = []
    for name, signature in signatures.items():
        session = answers.session((folder / signature.file).read_bytes())
        random = np.random.default_rng(SEED)
        for rows in BATCH_SIZES:
            inputs = {
                alias: random_array(spec, random, rows=rows, free_size=free_size)
                for alias, spec in signature.inputs.items()
            }
            expected = _ask_tensorflow(loaded.signatures[name], inputs, name)
            received = session.run(
                [spec.tensor for spec in signature.outputs.values()],
                {signature.inputs[alias].tensor: array for alias, array in inputs.items()},
            )
            for alias, array in zip(signature.outputs, received, strict=True):
                where = {"signature": name, "rows": rows, "output": alias}
                problems += _differences(where, expected[alias], array)
                findings.append({**where, "max_abs_delta": _max_abs_delta(expected[alias], array)})
    if problems:
        msg = (
            "\n".join(["parity gate: ONNX differs from SavedModel", *problems])
            + "\n  way out: a function that draws random numbers or keeps state cannot be compared;"
            " otherwise compare the versions of tf2onnx and onnxslim with constraints.txt; "
            "nothing was published"
        )
        raise GateFailed(msg)
    return findings


def random_array(
    spec: TensorSpec, random: np.random.Generator, *, rows: int, free_size: int
) -> npt.NDArray[Any]:
    """Random values for one input.

    Args:
        spec: Its dtype and shape.
        random: Source of randomness.
        rows: Size of a free first dimension.
        free_size: Size of any other free dimension.
    """
    shape = tuple(
        size if size != -1 else (free_size if position else rows)
        for position, size in enumerate(spec.shape)
    )
    dtype = spec.dtype.numpy
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        if dtype.itemsize == 1:
            limits = np.iinfo(dtype)
            return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        return random.integers(0, _LARGEST_INTEGER, shape, dtype, endpoint=True)
    return random.standard_normal(shape).astype(dtype)


def _ask_tensorflow(
    function: Any,  # noqa: ANN401  TensorFlow ships no types
    inputs: Mapping[str, npt.NDArray[Any]],
    name: str,
) -> dict[str, npt.NDArray[Any]]:
    tensors = {alias: tf.constant(array) for alias, array in inputs.items()}
    try:
        return {alias: np.asarray(tensor) for alias, tensor in function(**tensors).items()}
    except tf.errors.OpError as error:
        shapes = ", ".join(f"{alias} {array.dtype}{array.shape}" for alias, array in inputs.items())
        reason = error.message.splitlines()[0]
        msg = (
            f"signature {name!r} refuses random inputs ({shapes}): {reason}; "
            "if it wants other sizes in its free dimensions, pass --free-size"
        )
        raise ExportError(msg) from error


def _differences(
    where: Mapping[str, Any], expected: npt.NDArray[Any], received: npt.NDArray[Any]
) -> Iterator[str]:
    """One line if the two differ in dtype, shape or values, none if they agree."""
    place = f"  signature {where['signature']!r}, {where['rows']} rows, output {where['output']!r}"
    if (expected.dtype, expected.shape) != (received.dtype, received.shape):
        yield (
            f"{place}: {received.dtype}{received.shape}, expected {expected.dtype}{expected.shape}"
        )
        return
    rtol, atol = _TOLERANCES.get(expected.dtype.name, (0.0, 0.0))
    close = np.isclose(received, expected, rtol=rtol, atol=atol, equal_nan=True)
    if not close.all():
        index = tuple(int(position) for position in np.argwhere(~close)[0])
        yield (
            f"{place}: {int((~close).sum()):,} of {close.size:,} values outside rtol {rtol:g}, "
            f"atol {atol:g}; the first at {index}: {received[index]}, expected {expected[index]}"
        )


def _max_abs_delta(expected: npt.NDArray[Any], received: npt.NDArray[Any]) -> float:
    if expected.shape != received.shape or expected.size == 0:
        return 0.0
    delta = np.abs(received.astype(np.float64) - expected.astype(np.float64))
    return float(np.nan_to_num(delta).max())
