"""Row independence: tests whether rows of a signature may share a run with rows of other requests.

A free first dimension is no proof: it may count samples of a sound, words, points of a cloud or
boxes. Therefore the graph is probed: made-up batches are run whole, again, permuted, split in two
and row by row, and all answers for a row must agree. Special rows reveal a graph that mixes rows:
one a thousand times as large as the others (it moves a maximum, a mean, a quantisation range), one
of zeros, and two equal ones. In addition, the graph is searched for operators that mix rows by
their definition, because a probe may miss them: an ArgMax behind a dynamic quantisation rarely
changes its answer.

A signature that cannot be probed counts as not independent; its requests run alone.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.engine import made_up_inputs
from serving.engine.row_mixing_operators import find_row_mixing
from serving.engine.runtime import GraphRuntime, Runtime, RuntimeConfig, SessionControl
from serving.errors import ServingError
from serving.repository.model_folder import Precision
from serving.tensors import bfloat16
from serving.tensors.signature import Signature
from serving.tensors.tensor_spec import DataType
from serving.tensors.verdict import Verdict

__all__ = ["Verdict", "prove", "prove_each"]

Arrays = Mapping[str, np.ndarray]

SEEDS = (0, 1, 2)
SCALES = (1, 255, 1000)
SMALL_BATCHES = (1, 2, 3, 7)
DRAWN_ROWS = 8  # rows of the largest batch that are run one by one
# Largest integer by scale. If the graph refuses it, the next one follows: integers may be indices.
_INTEGERS = {1: (9, 1, 0), 255: (255, 9, 1, 0), 1000: (1000, 255, 9, 1, 0)}
# Sizes to try for free dimensions other than the batch, the likeliest first.
_FREE_SIZES = (8, 32, 64, 224, 1)
# Relative to a row's largest value. Kernels may add in another order for another batch size.
_TOLERANCES = {np.dtype(np.float16): 1e-2, np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-9}
_TOLERANCES[bfloat16.BFLOAT16] = 8e-2


class _NotProvedError(Exception):
    """Rows are not proved independent; the message is the verdict's evidence."""


def prove(
    onnx_file: Path | None,
    signature: Signature,
    *,
    max_batch_size: int = 64,
    seconds: float | None = None,
    precision: Precision = "fp32",
    runtime: GraphRuntime | None = None,
) -> Verdict:
    """Find out whether the rows of a signature are independent. Runs on the CPU; blocks.

    Args:
        onnx_file: The ONNX graph of the signature; None if `runtime` runs a SavedModel.
        signature: The signature to probe.
        max_batch_size: Most rows of a batch to try.
        seconds: Time limit; after it the verdict is "not independent". None: no limit.
        precision: Precision of the graph.
        runtime: The graph, if it is loaded on the CPU already; None loads it here.

    Raises:
        DataLoss: the file is not an ONNX graph that can be served.
    """
    if all(spec.constant for spec in signature.outputs.values()):
        evidence = "no output is computed: all are constant"
        return Verdict(independent=True, evidence=evidence, max_batch_size=max_batch_size)
    try:
        _require_rows(signature)
        if onnx_file is not None:
            _require_no_mixing(onnx_file)
            runtime = runtime or Runtime(onnx_file, RuntimeConfig(device="cpu"), precision)
        assert runtime is not None  # noqa: S101 - callers pass `onnx_file`, `runtime` or both
        probe = _Probe(runtime, signature, seconds)
        sizes = probe.check(max_batch_size)
    except _NotProvedError as error:
        return Verdict(independent=False, evidence=str(error), max_batch_size=max_batch_size)
    evidence = (
        f"rows answer the same together, permuted, split and alone, in {probe.batches} made-up "
        f"batches of {', '.join(map(str, sizes[:-1]))} and {sizes[-1]} rows"
    )
    return Verdict(independent=True, evidence=evidence, max_batch_size=max_batch_size)


def prove_each(
    onnx_file: Path | None,
    signatures: Mapping[str, Signature],
    *,
    max_batch_size: int = 64,
    seconds: float | None = None,
    precision: Precision = "fp32",
    runtime: GraphRuntime | None = None,
) -> dict[str, Verdict]:
    """Find out whether the rows of several signatures of one graph are independent.

    A signature with the inputs of an independent one, and no other outputs, is not probed again.

    Args:
        onnx_file: See `prove`.
        signatures: The signatures by name.
        max_batch_size: See `prove`.
        seconds: Time limit for each signature.
        precision: See `prove`.
        runtime: See `prove`.

    Returns:
        The verdicts by signature name.

    Raises:
        DataLoss: see `prove`.
    """
    verdicts: dict[str, Verdict] = {}
    for name, signature in signatures.items():
        known = next(
            (
                verdict
                for other, verdict in verdicts.items()
                if verdict.independent and _is_part_of(signature, signatures[other])
            ),
            None,
        )
        verdicts[name] = known or prove(
            onnx_file,
            signature,
            max_batch_size=max_batch_size,
            seconds=seconds,
            precision=precision,
            runtime=runtime,
        )
    return verdicts


def _is_part_of(signature: Signature, other: Signature) -> bool:
    """Return whether a signature has the graph inputs of another one, and no other outputs."""

    def inputs(each: Signature) -> set[tuple[str, Any]]:
        return {(spec.tensor, spec.shape) for spec in each.model_inputs.values()}

    def outputs(each: Signature) -> set[str]:
        return {spec.tensor for spec in each.outputs.values() if not spec.constant}

    return (
        signature.has_rows
        and inputs(signature) == inputs(other)
        and outputs(signature) <= outputs(other)
    )


def _require_rows(signature: Signature) -> None:
    """Raise _NotProvedError if a first dimension is not free, or an input takes strings."""
    if not signature.has_rows:
        msg = "not every input and output has a free first dimension"
        raise _NotProvedError(msg)
    for alias, spec in signature.model_inputs.items():
        if spec.dtype is DataType.DT_STRING:
            msg = f'input "{alias}" takes strings, which cannot be made up'
            raise _NotProvedError(msg)


def _require_no_mixing(onnx_file: Path) -> None:
    """Raise _NotProvedError if an operator of the graph mixes rows by its definition."""
    if mixing := find_row_mixing(onnx_file):
        raise _NotProvedError(mixing)


class _Probe:
    """Runs made-up batches and compares the answers.

    Attributes:
        batches: Batches tried so far.
    """

    def __init__(self, runtime: GraphRuntime, signature: Signature, seconds: float | None) -> None:
        self._runtime = runtime
        self._specs = signature.model_inputs
        self._outputs = {
            alias: spec.tensor for alias, spec in signature.outputs.items() if not spec.constant
        }
        self._ends = None if seconds is None else time.monotonic() + seconds
        self._seconds = seconds
        self._control = SessionControl()
        self._row_seconds = 0.0  # of the latest run with several rows
        self.batches = 0

    def check(self, max_batch_size: int) -> list[int]:
        """Probe the graph with batches of several sizes, small ones first.

        Returns:
            The batch sizes in rows.

        Raises:
            _NotProvedError: two answers for one row differ, or the graph refuses a batch, or the
                time limit is over.
        """
        if self._seconds is None:
            return self._check(max_batch_size)
        with self._control.within(self._seconds):
            return self._check(max_batch_size)

    def _check(self, max_batch_size: int) -> list[int]:
        free_sizes = self._accepted_sizes()
        sizes = [size for size in SMALL_BATCHES if size < max_batch_size] + [max_batch_size]
        for size in sizes:
            for seed in SEEDS:
                for scale in SCALES if self._has_values else SCALES[:1]:
                    random = np.random.default_rng((seed, scale, size))
                    free_size = free_sizes[seed % len(free_sizes)]
                    try:
                        batch, joint = self._batch(random, size, scale, free_size, seed)
                    except ServingError as error:
                        msg = f"the graph refuses a made-up batch of {size}: {error.message}"
                        raise _NotProvedError(msg) from error
                    self._check_batch(random, batch, joint, size)
                    self.batches += 1
        return sizes

    @property
    def _too_long(self) -> str:
        return f"the proof takes longer than its limit of {self._seconds:g} s"

    @property
    def _has_values(self) -> bool:
        """Whether the scale changes the inputs: it does not if all of them are booleans."""
        return any(spec.dtype is not DataType.DT_BOOL for spec in self._specs.values())

    def _accepted_sizes(self) -> list[int]:
        """Return the first two sizes of the free dimensions that the graph accepts, or only one.

        Raises:
            _NotProvedError: the graph accepts none.
        """
        if not any(-1 in spec.known_shape[1:] for spec in self._specs.values()):
            candidates: Sequence[int] = _FREE_SIZES[:1]
        else:
            candidates = (*_FREE_SIZES, *made_up_inputs.long_sizes(self._specs))
        accepted: list[int] = []
        refusal = ""
        for free_size in candidates:
            if accepted and free_size == made_up_inputs.SAMPLES:
                break
            try:
                self._batch(np.random.default_rng(0), 2, 1, free_size, 0)
            except ServingError as error:
                refusal = error.message
            else:
                accepted.append(free_size)
            if len(accepted) == 2:
                break
        if not accepted:
            msg = f"the graph refuses made-up inputs: {refusal}"
            raise _NotProvedError(msg)
        return accepted

    def _batch(
        self, random: np.random.Generator, rows: int, scale: int, free_size: int, seed: int
    ) -> tuple[Arrays, Arrays]:
        """Return a made-up batch that the graph accepts, and the graph's answer, by alias.

        Raises:
            ServingError: the graph refuses all batches of this scale.
            _NotProvedError: see `_run`.
        """
        refusal: ServingError | None = None
        for integers in _INTEGERS[scale]:
            inputs = {
                alias: made_up_inputs.revealing_rows(
                    random,
                    made_up_inputs.shape(spec, rows, free_size),
                    spec.dtype.numpy,
                    scale,
                    integers,
                    seed,
                )
                for alias, spec in self._specs.items()
            }
            try:
                return inputs, self._run(inputs, rows)
            except ServingError as error:
                refusal = error
            if not any(array.dtype.kind in "iu" for array in inputs.values()):
                break
        assert refusal is not None  # noqa: S101 - the loop returns or sets `refusal`
        raise refusal

    def _run(self, inputs: Arrays, rows: int) -> dict[str, np.ndarray]:
        """Run the graph and return the answers by output alias.

        Raises:
            ServingError: the graph refuses the inputs.
            _NotProvedError: the time limit is over, or would be before this run ends.
        """
        now = time.monotonic()
        if self._ends is not None and now + rows * self._row_seconds > self._ends:
            raise _NotProvedError(self._too_long)
        feeds = {self._specs[alias].tensor: array for alias, array in inputs.items()}
        outputs = list(self._outputs.values())
        try:
            arrays = self._runtime.run(outputs, feeds, self._control)
        except ServingError:
            if self._control.terminated:
                raise _NotProvedError(self._too_long) from None
            raise
        if rows > 1:
            self._row_seconds = (time.monotonic() - now) / rows
        return dict(zip(self._outputs, arrays, strict=True))

    def _check_batch(
        self, random: np.random.Generator, batch: Arrays, joint: Arrays, rows: int
    ) -> None:
        """Compare a batch's answer with the answers to its rows in other batches.

        Raises:
            _NotProvedError: they differ, or the answer has another number of rows than the batch.
        """
        for alias, array in joint.items():
            if array.ndim == 0 or len(array) != rows:
                msg = f'output "{alias}" has shape {array.shape} for a batch of {rows} rows'
                raise _NotProvedError(msg)
        tolerances = {alias: _tolerance(array) for alias, array in joint.items()}

        def compare(chosen: np.ndarray, what: str) -> None:
            inputs = {alias: array[chosen] for alias, array in batch.items()}
            try:
                answer = self._run(inputs, len(chosen))
            except ServingError as error:
                msg = f"{what} are refused, but the batch of {rows} is not: {error.message}"
                raise _NotProvedError(msg) from error
            for alias, array in answer.items():
                expected, tolerance = joint[alias][chosen], tolerances[alias][chosen]
                if difference := _difference(expected, array, tolerance):
                    msg = f'output "{alias}" of a batch of {rows} rows: {what} {difference}'
                    raise _NotProvedError(msg)

        everything = np.arange(rows)
        compare(everything, "the same rows, asked again,")
        if rows == 1:
            return
        compare(random.permutation(rows), "the rows in another order")
        cut = int(random.integers(1, rows))
        compare(everything[:cut], f"the first {cut} rows alone")
        compare(everything[cut:], f"the last {rows - cut} rows alone")
        drawn = everything
        if rows > max(SMALL_BATCHES):
            drawn = np.sort(random.choice(rows, min(DRAWN_ROWS, rows), replace=False))
        for row in drawn:
            compare(np.array([row]), f"row {row} alone")


def _tolerance(array: np.ndarray) -> np.ndarray:
    """Return the tolerance of each row of an answer, float64, shape (rows,).

    It is zero for dtypes other than floats, else a share of the row's largest value, or of the
    median of all rows' largest values if that is larger, because a row's sum may cancel to almost
    zero. An outlier hardly moves the median, and so does not loosen other rows' bounds.
    """
    share = _TOLERANCES.get(array.dtype)
    if share is None or array.size == 0:
        return np.zeros(len(array))
    flat = np.abs(bfloat16.to_floats(array).reshape(len(array), -1).astype(np.float64))
    largest = np.max(flat, axis=1, initial=0.0, where=np.isfinite(flat))
    bound: np.ndarray = share * np.maximum(largest, np.median(largest))
    return bound


def _difference(expected: np.ndarray, received: np.ndarray, tolerance: np.ndarray) -> str:
    """Return how an answer differs, as a verb phrase; empty if it agrees.

    Args:
        expected: Rows of the whole batch's answer.
        received: Answers for the same rows from another batch.
        tolerance: Tolerance of each row.
    """
    if received.shape != expected.shape:
        return f"give shape {received.shape}, expected {expected.shape}"
    expected, received = bfloat16.to_floats(expected), bfloat16.to_floats(received)
    if expected.dtype.kind != "f":
        same = np.asarray(received == expected)
        return "" if same.all() else f"differ in {int((~same).sum())} of {same.size} values"
    bound = tolerance.reshape(-1, *[1] * (expected.ndim - 1))
    with np.errstate(invalid="ignore", over="ignore"):
        delta = np.abs(received.astype(np.float64) - expected.astype(np.float64))
        # Infinities and NaN must be equal in both answers: their difference is NaN.
        same = (delta <= bound) | (received == expected) | (np.isnan(received) & np.isnan(expected))
    if same.all():
        return ""
    wrong = delta[~same]
    largest = float(np.max(wrong, initial=0.0, where=np.isfinite(wrong)))
    return f"differ by up to {largest:.3g} in {int((~same).sum())} of {same.size} values"
