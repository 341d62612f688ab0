"""The parity gate on test data: TensorFlow and ONNX Runtime must give the same answer to each row.

An output passes when each of its floats b is close to the SavedModel's float a:
|b - a| <= RTOL * |a| + ATOL * m. Here m is the largest magnitude in the row's output, at least 1.
The rounding error of a sum grows with its terms; a small logit beside large ones therefore has the
error of the large ones. Outputs of other types must be equal.

The class of a row is the index of its largest score. It must be the same in both, except in a tie:
a row whose two largest scores differ by less than TIE_MARGIN * m. In a tie integer outputs may
differ too, because they may be classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export.errors import ExportError, GateFailed
from export.failures import reason
from export.gates import answers
from export.gates.parity import ATOL, RTOL, TIE_MARGIN
from export.gates.random_inputs import Reference
from export.sources.labelled_data import LabelledData
from serving.repository.model_folder import Precision
from serving.tensors.signature import Signature

_MOST_ROWS = 256
_MOST_ELEMENTS = 1 << 22  # in one input of a batch

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class DataParity:
    """The result of the gate.

    Attributes:
        scores: ONNX Runtime's scores, float32, shape (n, classes); None if no output holds scores.
        section: Entry for metrics.json: the number of rows, the tolerances, and the largest
            difference of each output; with scores also how many rows have the same class in both
            models, and how many are ties.
    """

    scores: npt.NDArray[np.float32] | None
    section: dict[str, Any]


def check(
    reference: Reference,
    graph: bytes,
    signature: Signature,
    data: LabelledData,
    scores: str | None,
) -> DataParity:
    """Compare TensorFlow and ONNX Runtime on all rows of the test data.

    Args:
        reference: TensorFlow with the SavedModel.
        graph: The signature's ONNX graph.
        signature: The signature that the data is for.
        data: The test data.
        scores: Alias of the output with the scores; None if no output holds scores.

    Raises:
        ExportError: TensorFlow refuses rows of the data.
        GateFailed: an output differs, or a row that is no tie has another class.
    """
    expected: dict[str, list[Array]] = {alias: [] for alias in signature.outputs}
    received: dict[str, list[Array]] = {alias: [] for alias in signature.outputs}
    session = answers.session(graph)
    for rows in batches(data):
        feeds = data.feeds(rows)
        try:
            asked = reference.ask(signature, feeds)
        except tf.errors.OpError as error:
            msg = (
                f"TensorFlow refuses rows {rows.start} to {rows.stop - 1} of {data.name} "
                f"({reason(error)}); pass test data that the model takes"
            )
            raise ExportError(msg) from error
        for alias, array in _run(session, signature, feeds).items():
            expected[alias].append(asked[alias])
            received[alias].append(array)
    ours = {alias: np.concatenate(parts) for alias, parts in received.items()}
    theirs = {alias: np.concatenate(parts) for alias, parts in expected.items()}
    return _compared(theirs, ours, scores, data)


def scores_of(
    graph: bytes,
    signature: Signature,
    data: LabelledData,
    output: str,
    precision: Precision = "fp32",
) -> npt.NDArray[np.float32]:
    """Return ONNX Runtime's scores for all rows, float32, shape (n, classes).

    Args:
        graph: An ONNX graph of the signature in any precision.
        signature: The signature that the data is for.
        data: The test data.
        output: Alias of the output with the scores.
        precision: Precision of the graph, which runs with the server's settings for it.
    """
    session = answers.session(graph, precision)
    parts = [_run(session, signature, data.feeds(rows))[output] for rows in batches(data)]
    return np.concatenate(parts).astype(np.float32)


def batches(data: LabelledData) -> Iterator[slice]:
    """Yield slices of the data's rows: at most 256 rows each, and fewer if a row is large."""
    largest = max(array[:1].size for array in data.inputs.values())
    rows = max(1, min(_MOST_ROWS, _MOST_ELEMENTS // max(1, largest)))
    for start in range(0, len(data), rows):
        yield slice(start, min(start + rows, len(data)))


def _run(session: Any, signature: Signature, feeds: dict[str, Array]) -> dict[str, Array]:  # noqa: ANN401  ONNX Runtime ships no types
    computed = [alias for alias, spec in signature.outputs.items() if not spec.constant]
    arrays = session.run(
        [signature.outputs[alias].tensor for alias in computed],
        {signature.inputs[alias].tensor: array for alias, array in feeds.items()},
    )
    return dict(zip(computed, arrays, strict=True))


def _compared(
    expected: dict[str, Array], received: dict[str, Array], scores: str | None, data: LabelledData
) -> DataParity:
    n = len(data)
    section: dict[str, Any] = {"rows": n, "rtol": RTOL, "atol": ATOL, "outputs": []}
    problems = []
    ties = np.zeros(n, bool)
    if scores is not None:
        ties = tied(expected[scores])
        same = expected[scores].argmax(axis=1) == received[scores].argmax(axis=1)
        section |= {"same_class": int(same.sum()), "ties": int(ties.sum())}
        if others := int((~same & ~ties).sum()):
            problems.append(
                f"  another class: {others:,} of {n:,} rows ({int(ties.sum()):,} ties not counted)"
            )
    for alias, theirs in expected.items():
        outside, delta = _outside(theirs, received[alias])
        if len(outside) == n and theirs.dtype.kind in "iu":
            outside &= ~ties
        section["outputs"].append({"output": alias, "max_abs_delta": delta})
        if outside.any():
            problems.append(
                f"  output {alias!r}: {int(outside.sum()):,} of {n:,} rows outside rtol {RTOL:g}, "
                f"atol {ATOL:g}; the first is row {int(np.argmax(outside))}; largest delta "
                f"{delta:.3g}"
            )
    if problems:
        way_out = (
            "  way out: compare the versions of tf2onnx and onnxslim with constraints.txt, or "
            "serve the SavedModel with TensorFlow itself; nothing was published"
        )
        head = f"parity gate: ONNX differs from SavedModel on the test data {data.name}"
        msg = "\n".join([head, *problems, way_out])
        raise GateFailed(msg)
    found = None if scores is None else received[scores].astype(np.float32)
    return DataParity(scores=found, section=section)


def tied(scores: Array) -> npt.NDArray[np.bool_]:
    """Return which rows are ties: rounding may decide which of the two largest scores is larger.

    Args:
        scores: Floats, shape (n, classes), two classes or more.

    Returns:
        Booleans, shape (n,).
    """
    largest = np.partition(scores.astype(np.float64), -2, axis=1)[:, -2:]
    margin = TIE_MARGIN * np.maximum(1, np.abs(scores).max(axis=1))
    return np.asarray(largest[:, 1] - largest[:, 0] < margin)


def _outside(expected: Array, received: Array) -> tuple[npt.NDArray[np.bool_], float]:
    """Return which rows of an output differ, and the largest difference of two numbers.

    The difference is infinite if dtypes or shapes differ, and 0 for types other than floats.
    """
    if (expected.dtype, expected.shape) != (received.dtype, received.shape):
        return np.ones(max(1, len(expected)), bool), float("inf")
    rows = expected.reshape(len(expected), -1)
    others = received.reshape(len(received), -1)
    if expected.dtype.kind != "f":
        return np.asarray((rows != others).any(axis=1)), 0.0
    a, b = rows.astype(np.float64), others.astype(np.float64)
    with np.errstate(invalid="ignore"):
        delta = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(b - a))
    delta = np.nan_to_num(delta, nan=np.inf)
    finite = np.where(np.isfinite(a), np.abs(a), 0)
    scale = np.maximum(1, finite.max(axis=1, keepdims=True, initial=0))
    outside = delta > RTOL * finite + ATOL * scale
    return np.asarray(outside.any(axis=1)), float(delta.max(initial=0))
