"""TensorFlow Serving's REST API: POST .../NAME:predict with rows ("instances").

A model with an input that takes no batch gets columns ("inputs") instead.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from loadtest.settings.config import PLAIN, ConnectionConfig, UsageError
from loadtest.transports.api import BAD_RESPONSE, CLASSES, Api, CallError, ModelInput
from loadtest.transports.http_sender import get
from loadtest.transports.tfs_grpc import SIGNATURE, dtype_name
from serving.tensors import bfloat16
from serving.tensors.signature import DataType

# Name for the output of a model with a single output: its answers do not name it.
_UNNAMED = "predictions"


class TfsRest(Api):
    """Predict requests for one model."""

    @property
    def path(self) -> str:
        """Path of the URL."""
        return f"{_model_path(self.model, self.version, self.version_label)}:predict"

    def encode(self, arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
        """See Api."""
        columns = {name: _json_values(array) for name, array in arrays.items()}
        # A single input may omit its name, which keeps requests short.
        (only,) = columns.values() if len(columns) == 1 else (None,)
        if any(array.ndim == 0 for array in arrays.values()):
            body = {"inputs": columns if len(columns) > 1 else only}
        elif len(columns) == 1:
            body = {"instances": only}
        else:
            rows = zip(*columns.values(), strict=True)
            body = {"instances": [dict(zip(columns, row, strict=True)) for row in rows]}
        return json.dumps(body, separators=(",", ":")).encode()

    def decode(self, response: bytes) -> tuple[dict[str, npt.NDArray[Any]], int | None]:
        """See Api."""
        try:
            document = json.loads(response, object_hook=_binary)
            if "outputs" in document:
                outputs = document["outputs"]
                named = outputs if isinstance(outputs, dict) else {_UNNAMED: outputs}
                return {name: _array(values) for name, values in named.items()}, self.version
            return _columns(document["predictions"]), self.version
        except (ValueError, KeyError, TypeError) as error:
            start = response[:80].decode(errors="replace")
            msg = f'{start!r}... received, expected {{"predictions": [...]}}, rows of equal shape'
            raise ValueError(msg) from error


async def discover(
    target: str,
    model: str,
    version: int | None,
    *,
    timeout_seconds: float,
    connection: ConnectionConfig = PLAIN,
    version_label: str | None = None,
) -> TfsRest:
    """Ask the server for the model's inputs; see `tfs_grpc.discover`."""
    path = f"{_model_path(model, version, version_label)}/metadata"
    content = await get(target, path, timeout_seconds=timeout_seconds, connection=connection)
    try:
        document = json.loads(content)
        signatures = document["metadata"]["signature_def"]["signature_def"]
        inputs = tuple(
            _model_input(name, tensor)
            for name, tensor in sorted(signatures[SIGNATURE]["inputs"].items())
        )
        served = int(document["model_spec"]["version"])
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{target}{path} did not answer with TensorFlow Serving's metadata: {error!r}"
        raise CallError(BAD_RESPONSE, msg) from error
    return TfsRest(model, version, inputs, served, version_label)


def _model_path(model: str, version: int | None, version_label: str | None) -> str:
    if version_label is not None:
        return f"/v1/models/{model}/labels/{quote(version_label, safe='')}"
    return f"/v1/models/{model}" + ("" if version is None else f"/versions/{version}")


def _model_input(name: str, tensor: dict[str, Any]) -> ModelInput:
    shape = tensor["tensor_shape"]
    sizes = tuple(int(dim["size"]) for dim in shape.get("dim", ()))
    return ModelInput(
        name=name,
        dtype=dtype_name(DataType[tensor["dtype"]])
        if tensor["dtype"] in DataType.__members__
        else tensor["dtype"],
        shape=None if shape.get("unknown_rank") else sizes,
    )


def _columns(predictions: list[Any]) -> dict[str, np.ndarray]:
    """Return the rows of an answer as one array for each output, by name."""
    if predictions and isinstance(predictions[0], dict):
        return {name: _array([row[name] for row in predictions]) for name in predictions[0]}
    column = _array(predictions)
    return {CLASSES if column.dtype.kind == "i" else _UNNAMED: column}


def _array(values: Any) -> np.ndarray:  # noqa: ANN401 - any JSON
    """Return values of JSON as an array; texts are of dtype object, because NumPy cuts them."""
    leaf = values
    while isinstance(leaf, list) and leaf:
        leaf = leaf[0]
    return np.array(values, object if isinstance(leaf, str | bytes) else None)


def _binary(entry: dict[str, Any]) -> "dict[str, Any] | bytes":
    """Decode {"b64": "..."}, which stands for bytes."""
    return base64.b64decode(entry["b64"]) if entry.keys() == {"b64"} else entry


def _json_values(array: npt.NDArray[Any]) -> Any:  # noqa: ANN401 - nested lists, or one value
    """Return an array as nested lists for JSON; bytes that are no UTF-8 are encoded.

    Raises:
        UsageError: JSON has no such numbers.
    """
    if array.dtype.kind == "c":
        msg = f"JSON has no {array.dtype}; use --transport tfs-grpc"
        raise UsageError(msg)
    if array.dtype.kind != "O":
        return bfloat16.to_floats(array).tolist()
    texts = np.empty(array.shape, object)
    for place, text in np.ndenumerate(array):
        try:
            texts[place] = text.decode()
        except UnicodeDecodeError:
            texts[place] = {"b64": base64.b64encode(text).decode()}
    return texts.tolist()
