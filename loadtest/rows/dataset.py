"""The rows that a run sends: the arrays of the model's inputs, and what the answers should be."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from loadtest.report_data_schema import Unit
from loadtest.transports.api import ModelInput

Integers = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Rows for one model.

    Attributes:
        inputs: The inputs of the model.
        arrays: An array for each input, by its name: shape (rows, *shape of a row), or without
            dimensions for an input that takes no batch: every request has the same value then.
            Texts are of dtype object, each element `bytes`. Numbers may be of another dtype than
            the input's, which holds all of them.
        rows: Number of rows.
        labels: int64, shape (rows,): the right class of each row; None if unknown.
        class_names: Names of the classes; empty if unknown.
        classes: int64, shape (rows,): recorded class of each row; None without a record.
        outputs: Recorded outputs by name, shape (rows, ...); empty without a record.
        unit: What a row is.
        source: Name of the source in the report; None for $CIFAR10_DIR.
        notes: Facts that a reader of the report should know.
    """

    inputs: tuple[ModelInput, ...]
    arrays: Mapping[str, Array]
    rows: int
    labels: Integers | None = None
    class_names: tuple[str, ...] = ()
    classes: Integers | None = None
    outputs: Mapping[str, Array] = field(default_factory=dict)
    unit: Unit = "rows"
    source: str | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.rows

    def batch(self, row_ids: Sequence[int] | Integers) -> dict[str, Array]:
        """Return the input arrays of a request, by name.

        Args:
            row_ids: Indices of its rows, in order.
        """
        return {
            name: array if array.ndim == 0 else array[row_ids]
            for name, array in self.arrays.items()
        }

    def sha256(self) -> str:
        """Return the SHA-256 of the arrays as read, by the names of the inputs, and of the labels.

        It is the digest that an export records for test data, and for a single input of labelled
        images training's `Split.sha256`: the same rows have the same digest, whichever file they
        came from.
        """
        digest = hashlib.sha256()
        for _, array in sorted(self.arrays.items()):
            digest.update(_bytes(array))
        if self.labels is not None:
            digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


class Source(Protocol):
    """Rows that are read or made as soon as the server has told the inputs of its model."""

    @property
    def noun(self) -> str:
        """What the rows are, in words: "test images"."""
        ...

    def __len__(self) -> int: ...

    def fit(self, inputs: Sequence[ModelInput] | None, *, model: str, batch: int) -> Dataset:
        """Return the rows for a model.

        Args:
            inputs: The inputs of the model; None if the server has no metadata.
            model: Name of the model, for messages.
            batch: Rows in a request.

        Raises:
            UsageError: The rows do not fit the inputs.
        """
        ...


def _bytes(array: Array) -> bytes:
    """Return the content of an array; each text follows its length."""
    if array.dtype.kind != "O":
        return np.ascontiguousarray(array).tobytes()
    return b"".join(len(text).to_bytes(8, "little") + text for text in array.ravel())
