"""The inputs of `predict` on the command line: pictures, a .npz file, or JSON."""

import argparse
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from serving.clients import pictures
from serving.clients.commands.arguments import STDIN
from serving.clients.commands.usage_error import UsageError
from serving.errors import ServingError
from serving.protocols.tfs import json_tensor
from serving.protos.tensorflow_serving_pb2 import SignatureDefMap
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME
from serving.tensors.tensor_spec import DataType, TensorSpec

_ROWS_KEY, _COLUMNS_KEY, _SIGNATURE_KEY = "instances", "inputs", "signature_name"


class FileInputs(NamedTuple):
    """The inputs of a Predict, as read from files.

    Attributes:
        arrays: Arrays by input name.
        signature_name: Signature name; empty for `serving_default`.
        names: A name for each row; None if rows have numbers only.
        by_row: Whether the JSON of the answer has the row format.
        has_rows: Whether the first dimension of every input is free, so that it counts rows, and
            the rows can be sent in several requests.
    """

    arrays: dict[str, np.ndarray]
    signature_name: str
    names: Sequence[str] | None = None
    by_row: bool = False
    has_rows: bool = True


def read(values: argparse.Namespace, signatures: SignatureDefMap) -> FileInputs:
    """Read the files of a command line.

    Args:
        values: The values of the flags.
        signatures: The model's signatures, which say what numbers and pictures become.

    Raises:
        UsageError: the files cannot be read, or do not have what the model takes.
    """
    files: list[str] = values.files
    arrays = [file for file in files if file == STDIN or file.endswith((".npz", ".json"))]
    if arrays and len(files) > 1:
        msg = f"{len(files)} files received, expected pictures, or one .npz or .json file alone"
        raise UsageError(msg)
    try:
        if not arrays:
            return _from_pictures(values, signatures)
        if values.resize or values.input:
            flag = "--resize" if values.resize else "--input"
            msg = f"{flag} received with {files[0]}, expected it with pictures only"
            raise UsageError(msg)
        if files[0].endswith(".npz"):
            return _from_npz(files[0], values.signature, signatures)
        return _from_json(files[0], values.signature, signatures)
    except (ImportError, OSError, ValueError) as error:
        raise UsageError.of(error) from error
    except ServingError as error:
        raise UsageError(error.message) from error


def _from_pictures(values: argparse.Namespace, signatures: SignatureDefMap) -> FileInputs:
    name = values.signature or DEFAULT_SIGNATURE_NAME
    taken = pictures.picture_input(signatures, name, values.input)
    pixels = pictures.read_pictures(
        values.files,
        height=taken.height,
        width=taken.width,
        channels=taken.channels,
        resize=values.resize,
    )
    return FileInputs({taken.name: pixels}, values.signature, names=values.files)


def _from_npz(file: str, signature_name: str, signatures: SignatureDefMap) -> FileInputs:
    """Read the arrays that are inputs of the signature; a note names the others.

    Raises:
        UsageError: the file is damaged, or none of its arrays is an input.
        OSError: the file cannot be read.
    """
    specs = _specs(signatures, signature_name)
    with Path(file).open("rb") as stream:
        if not zipfile.is_zipfile(stream):
            msg = f"{file} is not a .npz file"
            raise UsageError(msg)
    try:
        with np.load(file, allow_pickle=False) as archive:
            names = list(archive)
            arrays = {name: archive[name] for name in names if name in specs}
    except (zipfile.BadZipFile, ValueError) as error:
        msg = f"{file} cannot be read: {error}"
        raise UsageError(msg) from error
    others = ", ".join(name for name in names if name not in specs)
    if not arrays:
        msg = f"{file} has the arrays {others or '(none)'}, expected {_inputs_text(specs)}"
        raise UsageError(msg)
    if others:
        sys.stderr.write(f"note: not sent, because the model has no such inputs: {others}\n")
    return FileInputs(arrays, signature_name, has_rows=_have_rows(arrays, specs))


def _from_json(file: str, signature_name: str, signatures: SignatureDefMap) -> FileInputs:
    """Read `{"instances": [...]}` or `{"inputs": ...}`, as TensorFlow Serving's REST API does.

    Raises:
        UsageError: the document is something else.
        OSError: the file cannot be read.
        ServingError: a value does not fit its input.
    """
    shown = "standard input" if file == STDIN else file
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        msg = f"{shown} is not JSON: {error}"
        raise UsageError(msg) from error
    keys = {_ROWS_KEY, _COLUMNS_KEY} & set(document) if isinstance(document, dict) else set()
    if len(keys) != 1:
        msg = (
            f'{shown} has {"both" if keys else "neither"} of the keys "{_ROWS_KEY}" and '
            f'"{_COLUMNS_KEY}", expected one: {{"{_ROWS_KEY}": [row, ...]}} or '
            f'{{"{_COLUMNS_KEY}": {{name: values}}}}'
        )
        raise UsageError(msg)
    named = document.get(_SIGNATURE_KEY, "")
    if signature_name and named not in {"", signature_name}:
        msg = f"--signature is {signature_name}, and {shown} names {named!r}; expected one of them"
        raise UsageError(msg)
    signature_name = signature_name or str(named)
    specs = _specs(signatures, signature_name)
    if _ROWS_KEY in document:
        arrays = _rows(document[_ROWS_KEY], specs)
    else:
        arrays = _columns(document[_COLUMNS_KEY], specs)
    return FileInputs(
        arrays,
        signature_name,
        by_row=_ROWS_KEY in document,
        has_rows=_have_rows(arrays, specs),
    )


def _rows(rows: Any, specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:  # noqa: ANN401 - JSON
    if not isinstance(rows, list) or not rows:
        msg = f'"{_ROWS_KEY}" is {_shown(rows)}, expected a list of at least one row'
        raise UsageError(msg)
    named = json_tensor.is_object(rows[0])
    keys = set(rows[0]) if named else set()
    for position, row in enumerate(rows):
        if json_tensor.is_object(row) is not named or (named and set(row) != keys):
            msg = f"row {position} is {_shown(row)}, expected the keys or the form of row 0"
            raise UsageError(msg)
    if not named:
        return {(name := _only(specs)): _array(rows, name, specs, by_row=True)}
    return {name: _array([row[name] for row in rows], name, specs, by_row=True) for name in rows[0]}


def _columns(columns: Any, specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:  # noqa: ANN401 - JSON
    if not json_tensor.is_object(columns):
        columns = {_only(specs): columns}
    return {name: _array(value, name, specs, by_row=False) for name, value in columns.items()}


def _array(
    value: Any,  # noqa: ANN401 - JSON
    name: str,
    specs: Mapping[str, TensorSpec],
    *,
    by_row: bool,
) -> np.ndarray:
    """Return the array of one input.

    Raises:
        UsageError: there is no such input, or a row does not fit it.
        ServingError: a value does not fit it.
    """
    if name not in specs:
        msg = f'"{name}" received, expected {_inputs_text(specs)}'
        raise UsageError(msg)
    spec = specs[name]
    if by_row and json_tensor.try_array(value, spec) is None:
        mistake = json_tensor.find_row_mistake(value, spec.dtype)
        if mistake is not None:
            expected = json_tensor.expected(name, spec)
            msg = f"row {mistake.position}: {mistake.text}; {expected}"
            raise UsageError(msg)
    return json_tensor.to_array(value, name, spec)


def _only(specs: Mapping[str, TensorSpec]) -> str:
    if len(specs) != 1:
        msg = f"values without names received, expected an object with {_inputs_text(specs)}"
        raise UsageError(msg)
    (name,) = specs
    return name


def _specs(signatures: SignatureDefMap, signature_name: str) -> dict[str, TensorSpec]:
    """Return the inputs of a signature by name.

    Raises:
        UsageError: there is no such signature.
    """
    name = signature_name or DEFAULT_SIGNATURE_NAME
    if name not in signatures.signature_def:
        known = ", ".join(sorted(signatures.signature_def))
        msg = f"the model has no signature {name!r}, expected one of {known}"
        raise UsageError(msg)
    return {
        alias: TensorSpec(
            dtype=DataType(info.dtype),
            shape=None
            if info.tensor_shape.unknown_rank
            else tuple(dim.size for dim in info.tensor_shape.dim),
            tensor=info.name,
            graph_name=info.name,
        )
        for alias, info in sorted(signatures.signature_def[name].inputs.items())
    }


def _have_rows(arrays: Mapping[str, np.ndarray], specs: Mapping[str, TensorSpec]) -> bool:
    return bool(arrays) and all(
        array.ndim and (specs[name].shape or ())[:1] == (-1,) for name, array in arrays.items()
    )


def _inputs_text(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(
        f"{name} ({spec.dtype.name} {spec.shape_text})" for name, spec in specs.items()
    )


def _shown(value: Any) -> str:  # noqa: ANN401 - JSON
    """Return the beginning of a JSON value, for messages."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
