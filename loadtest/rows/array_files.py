"""Reads rows for any model from a file: arrays of a NumPy archive, or rows of JSON Lines."""

import base64
import binascii
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.rows import fitting
from loadtest.rows.dataset import Array, Dataset, Integers
from loadtest.settings.config import UsageError
from loadtest.transports.api import ModelInput

# Names of arrays in an archive, and keys of a row of JSON, that are no inputs. A model's input of
# the same name goes first.
LABELS, ANSWERS = "labels", "answers"
LABEL, ANSWER, OUTPUTS = "label", "answer", "outputs"
# numpy.savez gives this name to an array without one.
_UNNAMED = "arr_0"


@dataclass(frozen=True)
class FileRows:
    """A Source of the rows of a file.

    Attributes:
        path: The file.
        columns: Arrays by name: inputs, labels and recorded answers. Recorded outputs begin with
            `outputs/`.
        labels: Name of the labels among the columns.
        answers: Name of the recorded classes among the columns.
    """

    path: Path
    columns: Mapping[str, Array]
    labels: str = LABELS
    answers: str = ANSWERS

    @property
    def noun(self) -> str:
        """See Source."""
        return f"rows of {self.path.name}"

    def __len__(self) -> int:
        return max((len(array) for array in self.columns.values() if array.ndim), default=1)

    def fit(self, inputs: Sequence[ModelInput] | None, *, model: str, batch: int) -> Dataset:
        """See Source."""
        taken = {known.name for known in inputs or ()}
        columns, head = dict(self.columns), f"{OUTPUTS}/"
        extra = {
            name: columns.pop(name)
            for name in (self.labels, self.answers)
            if name in columns and name not in taken
        }
        outputs = {
            name.removeprefix(head): columns.pop(name)
            for name in list(columns)
            if name.startswith(head) and name not in taken
        }
        if columns.keys() == {_UNNAMED} and len(taken) == 1 and _UNNAMED not in taken:
            columns = {"": columns[_UNNAMED]}
        where = str(self.path)
        known, arrays, rows = fitting.fit(columns, inputs, model=model, batch=batch, where=where)
        for name, array in outputs.items():
            if array.shape[:1] != (rows,):
                msg = (
                    f'"{head}{name}" in {where} has shape {array.shape}, expected ({rows}, ...): '
                    "an answer for each row"
                )
                raise UsageError(msg)
        return Dataset(
            inputs=known,
            arrays=arrays,
            rows=rows,
            labels=self._classes(extra, self.labels, rows),
            classes=self._classes(extra, self.answers, rows),
            outputs=outputs,
            source=self.path.name,
        )

    def _classes(self, extra: Mapping[str, Array], name: str, rows: int) -> Integers | None:
        array = extra.get(name)
        if array is None:
            return None
        if array.shape not in {(rows,), (rows, 1)} or array.dtype.kind not in "iu":
            msg = (
                f'"{name}" in {self.path} is {array.dtype} of shape {array.shape}, expected '
                f"integers of shape ({rows},): the class of each row"
            )
            raise UsageError(msg)
        classes = array.reshape(rows).astype(np.int64)
        if classes.min() < 0:
            msg = f'"{name}" in {self.path} has {classes.min()}, expected classes from 0 on'
            raise UsageError(msg)
        return classes


def read_archive(path: Path) -> FileRows:
    """Read a NumPy archive.

    Raises:
        UsageError: The file cannot be read, or holds no arrays of numbers or texts.
    """
    try:
        with path.open("rb") as content, np.lib.npyio.NpzFile(content) as archive:
            columns = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        msg = (
            f"cannot read rows from {path}: {error}; expected an archive of numpy.savez with an "
            "array for each input (texts as str or bytes, not as objects)"
        )
        raise UsageError(msg) from error
    if not columns:
        msg = f"{path} holds no arrays, expected one for each input of the model"
        raise UsageError(msg)
    return FileRows(path, columns)


def read_json_lines(path: Path) -> FileRows:
    """Read a file with a row of JSON in each line, in the format of TensorFlow Serving's rows.

    A row is the value of the only input, or an object with a value for each input. An object may
    have the keys `label` and `answer` (classes) and `outputs` (an object of recorded outputs).

    Raises:
        UsageError: The file cannot be read, or its rows differ in their keys or shapes.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read rows from {path}: {error}"
        raise UsageError(msg) from error
    rows = [_row(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        msg = f"{path} has no rows, expected one in each line"
        raise UsageError(msg)
    for number, row in enumerate(rows, 1):
        if row.keys() != rows[0].keys():
            msg = (
                f"row {number} of {path} has {_keys(row)}, expected {_keys(rows[0])} as in the "
                "first row"
            )
            raise UsageError(msg)
    columns = {name: _column([row[name] for row in rows], name, path) for name in rows[0]}
    return FileRows(path, columns, LABEL, ANSWER)


def _row(line: str, path: Path, number: int) -> dict[str, Any]:
    """Return the values of a row by column; "" is the name of the only input."""
    try:
        value = json.loads(line, object_hook=_binary)
    except (ValueError, RecursionError) as error:
        msg = f"line {number} of {path} is no JSON: {error}"
        raise UsageError(msg) from error
    if not isinstance(value, dict):
        return {"": value}
    outputs = value.get(OUTPUTS)
    if isinstance(outputs, dict):
        del value[OUTPUTS]
        value |= {f"{OUTPUTS}/{name}": output for name, output in outputs.items()}
    return value


def _binary(entry: dict[str, Any]) -> "dict[str, Any] | bytes":
    """Decode {"b64": "..."}, which stands for bytes."""
    if entry.keys() != {"b64"}:
        return entry
    try:
        return base64.b64decode(entry["b64"], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        msg = f'"b64" is no Base64: {error}'
        raise ValueError(msg) from error


def _column(values: list[Any], name: str, path: Path) -> Array:
    """Return the values of all rows as one array; texts keep the dtype object."""
    shapes = [_shape(value) for value in values]
    for number, shape in enumerate(shapes, 1):
        if shape != shapes[0] or shape is None:
            first = "" if shapes[0] is None else f", expected {shapes[0]} as in the first row"
            of = f'"{name}"' if name else "the value"
            what = "lists of unequal lengths" if shape is None else f"shape {shape}"
            msg = f"{of} of row {number} of {path} has {what}{first}"
            raise UsageError(msg)
    leaf = values[0]
    while isinstance(leaf, list) and leaf:
        leaf = leaf[0]
    if isinstance(leaf, str | bytes):
        # NumPy's own dtypes of texts drop zero bytes at their ends.
        return np.array(values, object)
    try:
        array: Array = np.array(values)
    except (ValueError, OverflowError) as error:
        msg = f'"{name}" of {path} cannot be an array: {error}'
        raise UsageError(msg) from error
    return array


def _shape(value: object) -> tuple[int, ...] | None:
    """Return the shape of nested lists; None if lists beside each other have unequal shapes."""
    if not isinstance(value, list):
        return ()
    shapes = {_shape(element) for element in value} or {()}
    (inner, *others) = shapes
    return None if others or inner is None else (len(value), *inner)


def _keys(row: Mapping[str, Any]) -> str:
    return ", ".join(f'"{name}"' if name else "a value alone" for name in row) or "no keys"
