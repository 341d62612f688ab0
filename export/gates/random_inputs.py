"""Parity gate for models without test data: a SavedModel and its ONNX graphs on random inputs."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export import progress
from export.errors import ExportError, GateFailed
from export.failures import reason
from export.gates import answers
from export.gates.asked import Asked
from export.gates.random_arrays import (
    LARGEST_INTEGERS,
    random_array,
    random_examples,
    sizes_of,
)
from serving.engine import onnx_graph
from serving.tensors.example_parser import ExampleParser
from serving.tensors.signature import Signature

SEED = 0
BATCH_SIZES = (1, 5)
# Sizes of free dimensions in the order of the attempts: 16 steps, 224 pixels of an image, 16,000
# samples of a second of sound.
FREE_SIZES = (16, 224, 16_000)
_PIXELS, _PICTURE_RANK = 224, 3
_MOST_ELEMENTS = 1 << 24
# Shapes for inputs that accept any rank.
RANK_SHAPES = ((), (3,), (2, 3), (0, 3))
# Ranks for inputs whose rank TensorFlow does not know, in the order of the attempts.
_RANKS = (1, 2, 3, 4, 0)
# rtol and atol by NumPy dtype. float16 has 10 bits, and runtimes may compute it in float32.
_TOLERANCES = {"float16": (1e-2, 1e-3), "float32": (1e-4, 1e-5), "float64": (1e-4, 1e-5)}


class Reference(Protocol):
    """A runtime of the original model, whose answers count as right."""

    def ask(
        self, signature: Signature, inputs: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, npt.NDArray[Any]]:
        """The outputs of a signature by alias.

        Raises:
            tf.errors.OpError: an operation refuses the inputs.
        """


def check(
    reference: Reference,
    folder: Path,
    signatures: Mapping[str, Signature],
    *,
    free_size: int | None = None,
    asked: list[Asked] | None = None,
) -> list[dict[str, Any]]:
    """Compare TensorFlow and ONNX Runtime on the same random inputs, in batches of 1 and 5 rows.

    Floats are drawn from the standard normal distribution, uint8 and int8 from all their values,
    other integers from 0 to 9, or from 0 to 1 if TensorFlow refuses those. The seed is fixed. If
    TensorFlow refuses these sizes, larger sizes follow, for the first dimension too: an input may
    be a single waveform. If a graph declares no rank for an input, the gate also tries a scalar, a
    vector, a matrix and an empty matrix, and skips those that TensorFlow refuses.

    Args:
        reference: TensorFlow with the SavedModel.
        folder: Folder of the graphs that the signatures name.
        signatures: The signatures to compare, by name.
        free_size: Size of free dimensions. The first dimension gets it only if TensorFlow refuses
            the batch sizes. None for 16, then larger sizes if TensorFlow refuses that.
        asked: List to which this function appends every request with TensorFlow's answer.

    Returns:
        Entries for metrics.json: one for each signature, batch size or shape, and output.

    Raises:
        ExportError: TensorFlow refuses all random inputs.
        GateFailed: an output differs; the message names every such output.
    """
    findings: list[dict[str, Any]] = []
    problems: list[str] = []
    for name, signature in signatures.items():
        progress.part(f"signature {name}")
        file = folder / signature.file
        session = answers.session(file.read_bytes())
        random = np.random.default_rng(SEED)
        questions = [
            *_of_rows(
                reference,
                signature,
                name,
                random,
                free_sizes=_free_sizes(signature) if free_size is None else (free_size,),
                ranks=_ranks(signature, session),
            ),
            *_of_ranks(reference, signature, file, random, free_size or FREE_SIZES[0]),
        ]
        for what, inputs, expected in questions:
            if asked is not None:
                asked.append(Asked(signature=name, inputs=inputs, outputs=expected))
            try:
                received = _ask_onnx(session, signature, inputs)
            except Exception as error:  # noqa: BLE001  ONNX Runtime's errors have no base class
                place = _place({"signature": name, **what})
                problems.append(f"{place}: ONNX Runtime refuses what TensorFlow answers: ")
                problems[-1] += reason(error)
                continue
            for alias, array in received.items():
                where = {"signature": name, **what, "output": alias}
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


_Arrays = Mapping[str, npt.NDArray[Any]]
# The entries of a finding that describe the inputs, the inputs, and TensorFlow's answer.
_Question = tuple[dict[str, Any], _Arrays, _Arrays]


def _of_rows(
    reference: Reference,
    signature: Signature,
    name: str,
    random: np.random.Generator,
    *,
    free_sizes: Sequence[int],
    ranks: Sequence[int],
) -> Iterator[_Question]:
    """One answered question for each batch size.

    If TensorFlow refuses every shape with the usual number of rows, the first dimension gets a
    multiple of the free size instead.

    Raises:
        ExportError: TensorFlow refuses all shapes.
    """
    for number, usual in enumerate(BATCH_SIZES, start=1):
        sizes = [(usual, size) for size in free_sizes]
        sizes += [(number * size, size) for size in free_sizes]
        refusal: ExportError | None = None
        empty: _Question | None = None
        seen: list[dict[str, tuple[int, ...]]] = []
        for (rows, free_size), rank in itertools.product(sizes, ranks):
            shapes = {
                alias: sizes_of(spec.shape, rows=rows, free_size=free_size, rank=rank)
                for alias, spec in signature.model_inputs.items()
            }
            if shapes in seen or any(map(_is_too_large, shapes.values())):
                continue
            seen.append(shapes)
            try:
                inputs, expected = _answered(
                    reference, signature, name, random, rows=rows, free_size=free_size, rank=rank
                )
            except ExportError as error:
                refusal = refusal or error
                continue
            question = ({"rows": rows}, inputs, expected)
            if any(array.size == 0 for array in expected.values()):
                # The input may be shorter than a window of the model; a larger one compares more.
                empty = empty or question
                continue
            yield question
            break
        else:
            if empty is None:
                assert refusal is not None  # noqa: S101 - every path through the loop sets one
                raise refusal
            yield empty


def _answered(
    reference: Reference,
    signature: Signature,
    name: str,
    random: np.random.Generator,
    *,
    rows: int,
    free_size: int,
    rank: int,
) -> tuple[_Arrays, _Arrays]:
    """Random inputs of one size with TensorFlow's answer.

    Integers are at most 9, or at most 1 if TensorFlow refuses those.

    Raises:
        ExportError: TensorFlow refuses all of them; the message is its refusal of the largest.
    """
    refusal: ExportError | None = None
    for largest in LARGEST_INTEGERS:
        inputs = {
            alias: random_array(
                spec, random, rows=rows, free_size=free_size, rank=rank, largest=largest
            )
            for alias, spec in signature.inputs.items()
            if alias != signature.example_input
        }
        if signature.feature_spec:
            inputs[signature.example_input] = random_examples(
                signature, random, rows=rows, free_size=free_size, largest=largest
            )
        try:
            return inputs, _ask_tensorflow(reference, signature, inputs, name)
        except ExportError as error:
            refusal = refusal or error
            # AbortedError: the inputs ended TensorFlow's process. Starting it again takes seconds.
            ended = isinstance(error.__cause__, tf.errors.AbortedError)
            if ended or not _has_integers(signature):
                break
    assert refusal is not None  # noqa: S101 - LARGEST_INTEGERS is not empty
    raise refusal


def _has_integers(signature: Signature) -> bool:
    """Whether an input takes integers that may be indices."""
    dtypes = [spec.dtype.numpy for spec in signature.model_inputs.values()]
    return any(dtype.kind in "iu" and dtype.itemsize > 1 for dtype in dtypes)


def _of_ranks(
    reference: Reference,
    signature: Signature,
    file: Path,
    random: np.random.Generator,
    free_size: int,
) -> Iterator[_Question]:
    """Questions of several ranks for the inputs whose rank the graph does not declare."""
    unknown = onnx_graph.unknown_ranks(onnx_graph.read(file))
    if signature.feature_spec or not unknown:
        return
    for shape in RANK_SHAPES:
        inputs = {
            alias: random_array(
                replace(spec, shape=shape) if spec.tensor in unknown else spec,
                random,
                rows=BATCH_SIZES[-1],
                free_size=free_size,
            )
            for alias, spec in signature.inputs.items()
        }
        try:
            expected = reference.ask(signature, inputs)
        except tf.errors.OpError:
            continue
        yield {"shape": list(shape)}, inputs, expected


def _free_sizes(signature: Signature) -> Sequence[int]:
    ranks = [len(spec.shape or ()) for spec in signature.model_inputs.values()]
    return [
        size for size in FREE_SIZES if size != _PIXELS or max(ranks, default=0) >= _PICTURE_RANK
    ]


def _ranks(signature: Signature, session: Any) -> Sequence[int]:  # noqa: ANN401  see _ask_onnx
    """Ranks for inputs whose rank TensorFlow does not know: the graph's if it declares one."""
    free = {spec.tensor for spec in signature.inputs.values() if spec.shape is None}
    declared = [len(info.shape) for info in session.get_inputs() if info.name in free]
    if not declared:
        return _RANKS[:1]
    return declared[:1] if declared[0] else _RANKS


def _is_too_large(sizes: tuple[int, ...]) -> bool:
    return math.prod(sizes) > _MOST_ELEMENTS


def _ask_onnx(
    session: Any,  # noqa: ANN401  ONNX Runtime ships no types
    signature: Signature,
    inputs: _Arrays,
) -> dict[str, npt.NDArray[Any]]:
    feeds, rows = dict(inputs), 0
    if signature.feature_spec:
        examples = feeds.pop(signature.example_input)
        rows = len(examples)
        feeds |= ExampleParser(signature.feature_spec).parse(examples.tolist())
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
    reference: Reference, signature: Signature, inputs: _Arrays, name: str
) -> dict[str, npt.NDArray[Any]]:
    try:
        return reference.ask(signature, inputs)
    except tf.errors.OpError as error:
        shapes = ", ".join(f"{alias} {array.dtype}{array.shape}" for alias, array in inputs.items())
        msg = (
            f"signature {name!r} refuses random inputs ({shapes}): {reason(error)}; "
            "if its free dimensions need other sizes, pass --free-size"
        )
        raise ExportError(msg) from error


def agree(expected: npt.NDArray[Any], received: npt.NDArray[Any]) -> bool:
    """Whether two answers have the same dtype and shape, and the same values up to rounding."""
    if (expected.dtype, expected.shape) != (received.dtype, received.shape):
        return False
    return bool(_close(expected, received).all())


def _close(expected: npt.NDArray[Any], received: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if expected.dtype.kind == "O":
        # ONNX Runtime returns strings as str, TensorFlow as bytes.
        text = [value.encode() if isinstance(value, str) else value for value in received.ravel()]
        same = [one == other for one, other in zip(expected.ravel(), text, strict=True)]
        return np.array(same, dtype=bool).reshape(expected.shape)
    rtol, atol = _TOLERANCES.get(expected.dtype.name, (0.0, 0.0))
    close: npt.NDArray[np.bool_] = np.isclose(
        received, expected, rtol=rtol, atol=atol, equal_nan=True
    )
    return close


def _differences(
    where: Mapping[str, Any], expected: npt.NDArray[Any], received: npt.NDArray[Any]
) -> Iterator[str]:
    """One line if two answers differ in dtype, shape or values; no line if they agree."""
    place = f"{_place(where)}, output {where['output']!r}"
    if (expected.dtype, expected.shape) != (received.dtype, received.shape):
        yield (
            f"{place}: {received.dtype}{received.shape}, expected {expected.dtype}{expected.shape}"
        )
        return
    rtol, atol = _TOLERANCES.get(expected.dtype.name, (0.0, 0.0))
    close = _close(expected, received)
    if not close.all():
        index = tuple(int(position) for position in np.argwhere(~close)[0])
        yield (
            f"{place}: {int((~close).sum()):,} of {close.size:,} values outside rtol {rtol:g}, "
            f"atol {atol:g}; the first at {index}: {received[index]}, expected {expected[index]}"
        )


def _place(where: Mapping[str, Any]) -> str:
    asked = f"{where['rows']} rows" if "rows" in where else f"shape {where['shape']}"
    return f"  signature {where['signature']!r}, {asked}"


def _max_abs_delta(expected: npt.NDArray[Any], received: npt.NDArray[Any]) -> float:
    if expected.shape != received.shape or expected.size == 0 or expected.dtype.kind == "O":
        return 0.0
    delta = np.abs(received.astype(np.float64) - expected.astype(np.float64))
    return float(np.nan_to_num(delta).max())
