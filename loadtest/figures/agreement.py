"""Agreement of answers with recorded ones: of classes, or of all values of all outputs.

A class that nearly won when the answers were recorded agrees, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from loadtest.generator.recording import Integers
from loadtest.report_data_schema import RecordSource
from loadtest.transports.api import Answer

Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
Outputs = Mapping[str, Array]

_TEXTS, _FLOATS = "SUO", "fc"


@dataclass(frozen=True)
class RecordedClasses:
    """The class that a model gave each row when it was recorded.

    Attributes:
        classes: int64, shape (rows,): the recorded class of each row; -1 if it was not recorded.
        near_ties: int64, shape (rows, k): the classes that nearly won, -1 at unused places; None
            without a record of them. See `training.evaluation.predictions`.
        margin: How much less probable than the winner these classes are at most; None without.
    """

    classes: Integers
    near_ties: Integers | None = None
    margin: float | None = None

    @property
    def rule(self) -> str:
        """When an answer equals the recorded one, in words."""
        if self.margin is None:
            return "the same class"
        return (
            f"the same class, or one whose recorded probability is at most {self.margin:g} below "
            "the highest: a near tie, which another processor may decide the other way"
        )

    def took_near_tie(self, answered: Integers, rows: Integers) -> Flags:
        """Return whether an answer is not the recorded class but one that nearly won.

        Args:
            answered: int64, any shape: answered classes.
            rows: int64, the same shape: the row of each; -1 at unused places.

        Returns:
            bool, the same shape.
        """
        if self.near_ties is None:
            return np.zeros(answered.shape, np.bool_)
        near = (answered[..., None] == self.near_ties[rows]).any(axis=-1)
        return np.asarray(near & (answered >= 0) & (rows >= 0))

    def differ(self, answered: Integers, rows: Integers) -> Flags:
        """Return whether an answer is neither the recorded class nor one that nearly won.

        Args and result are those of `took_near_tie`.
        """
        other = answered != self.classes[rows]
        return np.asarray((rows >= 0) & other & ~self.took_near_tie(answered, rows))


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The recorded answers that every answer of a run must equal. One of the three is set.

    Attributes:
        source: Where the recorded answers come from.
        classes: Recorded class of each row.
        outputs: Recorded outputs by name, shape (rows, ...).
        queries: Recorded outputs of whole queries, by the number of the query.
        tolerance: How far a float may be from the recorded one, as a share of the largest absolute
            value in the recorded row.
    """

    source: RecordSource
    classes: RecordedClasses | None = None
    outputs: Outputs | None = None
    queries: Mapping[int, Outputs] | None = None
    tolerance: float

    @property
    def rule(self) -> str:
        """When an answer equals the recorded one, in words."""
        if self.classes is not None:
            return self.classes.rule
        return (
            "the same values of all outputs: integers, booleans and texts equal, floats at most "
            f"{self.tolerance:g} times the largest of their row apart"
        )

    def differing(
        self, answer: Answer, query: int, row_ids: Integers
    ) -> tuple[Flags, dict[int, str]]:
        """Compare an answer with the recorded ones.

        Args:
            answer: The answer.
            query: Number of the query that was answered.
            row_ids: Its rows.

        Returns:
            bool, shape (rows of the query,): whether the answer to each row differs; and for values
            that differ, a text by place.
        """
        if self.classes is not None:
            return self.classes.differ(answer.classes, row_ids), {}
        if self.queries is not None:
            recorded = self.queries[query]
        else:
            recorded = {name: array[row_ids] for name, array in (self.outputs or {}).items()}
        answered = answer.outputs
        if len(recorded) == len(answered) == 1:
            # An API may leave out the name of the only output.
            answered = dict(zip(recorded, answered.values(), strict=True))
        rows = len(row_ids)
        differs, texts = np.zeros(rows, np.bool_), dict[int, str]()
        for name, values in recorded.items():
            found = answered.get(name)
            of_output = unequal(found, values, rows, self.tolerance)
            for place in np.flatnonzero(of_output & ~differs).tolist():
                texts[place] = (
                    f'output "{name}" {_text(found, place, rows)}, '
                    f"recorded {_text(values, place, rows)}"
                )
            differs |= of_output
        return differs, texts


def unequal(answered: Array | None, recorded: Array, rows: int, tolerance: float) -> Flags:
    """Return which rows of an output differ from the record: bool, shape (rows,).

    An output whose first dimension does not count the rows differs in all of them or in none.

    Args:
        answered: The output; None if it is missing.
        recorded: The recorded output.
        rows: Rows of the request.
        tolerance: See Agreement.
    """
    if answered is None or answered.shape != recorded.shape:
        return np.ones(rows, np.bool_)
    by_row = recorded.shape[:1] == (rows,)
    parts = rows if by_row else 1
    pair = (answered.reshape(parts, -1), recorded.reshape(parts, -1))
    kinds = {array.dtype.kind for array in pair}
    if kinds & set(_TEXTS):
        ours, theirs = (list(map(_bytes, array.ravel())) for array in pair)
        wrong = np.array([a != b for a, b in zip(ours, theirs, strict=True)], np.bool_)
    elif kinds & set(_FLOATS):
        wrong = ~_close(*pair, tolerance)
    else:
        wrong = pair[0] != pair[1]
    found = wrong.reshape(parts, -1).any(axis=1)
    return np.asarray(found if by_row else np.repeat(found, rows))


def _close(answered: Array, recorded: Array, tolerance: float) -> Flags:
    """Return which floats are as close as the tolerance of their row allows; NaN equals NaN."""
    wide = np.complex128 if "c" in {answered.dtype.kind, recorded.dtype.kind} else np.float64
    a, b = answered.astype(wide), recorded.astype(wide)
    largest = np.where(np.isfinite(b), np.abs(b), 0).max(axis=1, initial=0, keepdims=True)
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= tolerance * largest
    return np.asarray(near | (a == b) | (np.isnan(a) & np.isnan(b)))


def _bytes(text: object) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()


def _text(output: Array | None, place: int, rows: int) -> str:
    """Return the values of a row as a short text."""
    if output is None:
        return "is missing"
    values = output[place] if output.shape[:1] == (rows,) else output
    text = np.array2string(values, threshold=6, edgeitems=2, precision=6, separator=", ")
    return f"{' '.join(text.split())} of shape {output.shape}"
