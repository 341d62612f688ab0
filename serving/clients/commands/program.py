"""Runs the commands of `python -m serving.client`, and prints what the server answered."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict

from serving import standard_streams
from serving.clients.blocking import PredictClient
from serving.clients.commands import inputs
from serving.clients.commands.arguments import parse
from serving.clients.commands.connecting import client_of
from serving.clients.commands.tables import outputs_table, printable, table
from serving.clients.commands.usage_error import UsageError
from serving.clients.pictures import tensor_text
from serving.clients.predict_error import PredictError
from serving.errors import ServingError
from serving.protocols.tfs import json_tensor
from serving.protos.tensorflow_error_pb2 import Code
from serving.protos.tensorflow_serving_pb2 import ModelVersionStatus
from serving.tensors import bfloat16

_CLASSES_SHOWN = 3


def main(arguments: Sequence[str]) -> int:
    """Run a command line.

    Returns:
        The exit code: 0 if the server answered, 1 if it refused the call or could not be reached,
        2 for wrong usage or input, 130 if the user interrupted it.
    """
    standard_streams.open_closed()
    values = parse(arguments)
    try:
        with client_of(values) as client:
            text = _COMMANDS[values.command](client, values)
    except PredictError as error:
        return _failed(str(error), 1)
    except ServingError as error:
        return _failed(f"the answer cannot be read: {error.message}", 1)
    except UsageError as error:
        return _failed(str(error), 2)
    except KeyboardInterrupt:
        return _failed("interrupted", 130)
    return _printed(text)


def _printed(text: str) -> int:
    """Print the answer and return the exit code."""
    try:
        print(text, flush=True)  # noqa: T201 - a program
    except OSError as error:
        # Python flushes once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 1  # the reader, `head` for example, has what it wanted
        return _failed(f"cannot write to standard output: {error.strerror}", 2)
    return 0


def _failed(message: str, code: int) -> int:
    sys.stderr.write(f"error: {printable(message)}\n")
    return code


def _predict(client: PredictClient, values: argparse.Namespace) -> str:
    spec = _model_spec(values)
    if values.output is not None and not values.output.parent.is_dir():
        msg = f"--output: there is no folder {values.output.parent}"
        raise UsageError(msg)
    signatures = client.signatures(values.model, **spec)
    received = inputs.read(values, signatures)
    settings: dict[str, Any] = {
        **spec,
        "signature_name": received.signature_name,
        "outputs": values.output_filter,
    }
    rows = max(map(len, received.arrays.values())) if received.has_rows else 0
    try:
        if rows > values.batch:
            answers = client.predict_batches(
                values.model,
                received.arrays,
                batch=values.batch,
                in_flight=values.in_flight,
                **settings,
            )
            outputs = _joined(list(answers))
        else:
            outputs = client.predict(values.model, received.arrays, **settings)
    except ValueError as error:
        raise UsageError.of(error) from error
    if values.output is not None:
        return _written(values.output, outputs)
    if values.json:
        return _json(_answer(outputs, by_row=received.by_row))
    return outputs_table(outputs, received.names)


def _classify(client: PredictClient, values: argparse.Namespace) -> str:
    ranked: list[list[tuple[str, float]]] = []
    try:
        for start in range(0, len(values.files), values.batch):
            ranked += client.classify(
                values.model,
                values.files[start : start + values.batch],
                resize=values.resize,
                signature_name=values.signature,
                **_model_spec(values),
            )
    except (ImportError, OSError, ValueError) as error:
        raise UsageError.of(error) from error
    if values.json:
        results = [
            # With the fewest digits that read back as the same float32.
            [(name, float(str(np.float32(score)))) for name, score in classes[: values.top or None]]
            for classes in ranked
        ]
        return _json({"results": results})
    most = _CLASSES_SHOWN if values.top is None else values.top or None
    rows = [
        (file, name, score)
        for file, classes in zip(values.files, ranked, strict=True)
        for name, score in classes[:most]
    ]
    return table(("picture", "class", "score"), rows)


def _status(client: PredictClient, values: argparse.Namespace) -> str:
    try:
        statuses = client.statuses(values.model, **_model_spec(values))
    except ValueError as error:
        raise UsageError.of(error) from error
    entries = [
        (
            entry.version,
            ModelVersionStatus.State.Name(entry.state),
            Code.Name(entry.status.error_code),
            entry.status.error_message,
        )
        for entry in statuses
    ]
    if not values.json:
        return table(("version", "state", "error", "message"), entries)
    shown = [
        {
            "version": str(version),
            "state": state,
            "status": {"error_code": code, "error_message": message},
        }
        for version, state, code, message in entries
    ]
    return _json({"model_version_status": shown})


def _metadata(client: PredictClient, values: argparse.Namespace) -> str:
    try:
        signatures = client.signatures(values.model, **_model_spec(values))
    except ValueError as error:
        raise UsageError.of(error) from error
    if values.json:
        shown = MessageToDict(
            signatures, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return _json({"metadata": {"signature_def": shown}})
    rows = []
    for name, signature in sorted(signatures.signature_def.items()):
        for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
            for alias, info in sorted(tensors.items()):
                optional = " (optional)" if alias in signature.defaults and kind == "input" else ""
                method = signature.method_name.rpartition("/")[2]
                rows.append((name, method, kind, alias, tensor_text(info) + optional))
    return table(("signature", "method", "kind", "name", "tensor"), rows)


_COMMANDS: Mapping[str, Callable[[PredictClient, argparse.Namespace], str]] = {
    "predict": _predict,
    "classify": _classify,
    "status": _status,
    "metadata": _metadata,
}


def _model_spec(values: argparse.Namespace) -> dict[str, Any]:
    """Return the version that the flags name.

    Raises:
        UsageError: they name it twice.
    """
    if values.version is not None and values.version_label is not None:
        msg = (
            "--version and --version-label received, expected one of them: a label names a version"
        )
        raise UsageError(msg)
    return {"version": values.version, "version_label": values.version_label}


def _joined(answers: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the outputs of several requests as those of one.

    Raises:
        ValueError: an output has no rows.
    """
    for name, array in answers[0].items():
        if not array.ndim:
            msg = f'output "{name}" has no rows to join; send all rows at once with --batch'
            raise ValueError(msg)
    return {name: np.concatenate([each[name] for each in answers]) for name in answers[0]}


def _written(file: Path, outputs: Mapping[str, np.ndarray]) -> str:
    arrays: dict[str, Any] = dict(outputs)
    try:
        np.savez_compressed(file, **arrays)
    except OSError as error:
        raise UsageError.of(error) from error
    text = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in outputs.items())
    return f"{file}: {text}"


def _answer(outputs: Mapping[str, np.ndarray], *, by_row: bool) -> dict[str, Any]:
    """Return outputs as TensorFlow Serving's REST API answers them."""
    arrays = {
        name: json_tensor.to_json(name, bfloat16.to_floats(array), finite=False)
        for name, array in outputs.items()
    }
    if len(arrays) == 1:
        (values,) = arrays.values()
    elif by_row:
        values = [dict(zip(arrays, row, strict=True)) for row in zip(*arrays.values(), strict=True)]
    else:
        values = arrays
    return {"predictions" if by_row else "outputs": values}


def _json(document: object) -> str:
    return json.dumps(document)
