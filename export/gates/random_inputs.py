"""Parity of a SavedModel and its ONNX graphs on random inputs, where no test data are known."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export.errors import ExportError, GateFailed
from export.gates import answers
from serving.protos.tensorflow_example_pb2 import Example
from serving.tensors.example_parser import ExampleParser
from serving.tensors.feature_spec import FeatureKind
from serving.tensors.signature import DataType, Signature, TensorSpec

SEED = 0
BATCH_SIZES = (1, 5)
# By NumPy dtype: float16 has 10 bits, and runtimes may compute it in float32.
_TOLERANCES = {"float16": (1e-2, 1e-3), "float32": (1e-4, 1e-5), "float64": (1e-4, 1e-5)}
# Integers are often indices, so random ones stay small; bytes are often pixels: all values.
_LARGEST_INTEGER = 9
_MISSING_SHARE = 0.3


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
                if alias != signature.example_input
            }
            feeds = inputs
            if signature.feature_spec:
                examples = random_examples(signature, random, rows=rows, free_size=free_size)
                inputs[signature.example_input] = examples
                parsed = ExampleParser(signature.feature_spec).parse(examples.tolist())
                feeds = {**inputs, **parsed}
                del feeds[signature.example_input]
            expected = _ask_tensorflow(loaded.signatures[name], inputs, name)
            received = _ask_onnx(session, signature, feeds, rows)
            for alias, array in received.items():
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
        for position, size in enumerate(spec.known_shape)
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


def random_examples(
    signature: Signature, random: np.random.Generator, *, rows: int, free_size: int
) -> npt.NDArray[Any]:
    """Random tf.Examples: features with a default may be missing, variable ones have any length.

    Args:
        signature: Has the feature spec.
        random: Source of randomness.
        rows: Number of examples.
        free_size: Most steps of a variable feature.

    Returns:
        Serialized examples: object, shape (rows,).
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
                feature.bytes_list.value.extend(random.bytes(3) for _ in range(shape[0]))
            elif spec.tensor.dtype is DataType.DT_INT64:
                values = random_array(flat, random, rows=rows, free_size=free_size)
                feature.int64_list.value.extend(values.tolist())
            else:
                values = random_array(flat, random, rows=rows, free_size=free_size)
                feature.float_list.value.extend(values.tolist())
        examples[row] = example.SerializeToString()
    return examples


def _ask_onnx(
    session: Any,  # noqa: ANN401  ONNX Runtime ships no types
    signature: Signature,
    feeds: Mapping[str, npt.NDArray[Any]],
    rows: int,
) -> dict[str, npt.NDArray[Any]]:
    computed = [alias for alias, spec in signature.outputs.items() if not spec.constant]
    arrays = session.run(
        [signature.outputs[alias].tensor for alias in computed],
        {signature.model_inputs[alias].tensor: array for alias, array in feeds.items()},
    )
    constants = {
        alias: spec.constant_rows(rows)
        for alias, spec in signature.outputs.items()
        if spec.constant
    }
    return {**dict(zip(computed, arrays, strict=True)), **constants}


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
    if expected.dtype.kind == "O":
        close = np.asarray(received == expected)
    else:
        close = np.isclose(received, expected, rtol=rtol, atol=atol, equal_nan=True)
    if not close.all():
        index = tuple(int(position) for position in np.argwhere(~close)[0])
        yield (
            f"{place}: {int((~close).sum()):,} of {close.size:,} values outside rtol {rtol:g}, "
            f"atol {atol:g}; the first at {index}: {received[index]}, expected {expected[index]}"
        )


def _max_abs_delta(expected: npt.NDArray[Any], received: npt.NDArray[Any]) -> float:
    if expected.shape != received.shape or expected.size == 0 or expected.dtype.kind == "O":
        return 0.0
    delta = np.abs(received.astype(np.float64) - expected.astype(np.float64))
    return float(np.nan_to_num(delta).max())
