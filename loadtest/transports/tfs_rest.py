"""TensorFlow Serving's REST API: POST .../NAME:predict with rows ("instances")."""

import json
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from loadtest.settings.config import PLAIN, ConnectionConfig
from loadtest.transports.api import (
    BAD_RESPONSE,
    CLASSES,
    Answer,
    Api,
    CallError,
    ModelInput,
    check_input,
    read_classes,
)
from loadtest.transports.http_sender import get
from loadtest.transports.tfs_grpc import SIGNATURE, dtype_name
from serving.tensors.signature import DataType

# Name for the output of a model with a single output: its answers do not name it.
_UNNAMED = "predictions"


class TfsRest(Api):
    """Predict requests for one model."""

    @property
    def path(self) -> str:
        """Path of the URL."""
        return f"{_model_path(self.model, self.version, self.version_label)}:predict"

    def payload(self, images: npt.NDArray[np.uint8]) -> bytes:
        """See Api."""
        # The rows of a single input may omit its name, which keeps requests short.
        rows = images.astype(self.model_input.dtype, copy=False).tolist()
        return json.dumps({"instances": rows}, separators=(",", ":")).encode()

    def parse(self, response: bytes, rows: int) -> Answer:
        """See Api."""
        try:
            predictions = json.loads(response)["predictions"]
            outputs = _columns(predictions)
        except (ValueError, KeyError, TypeError) as error:
            start = response[:80].decode(errors="replace")
            msg = f'{start!r}... received, expected {{"predictions": [...]}}, rows of equal shape'
            raise ValueError(msg) from error
        classes, output = read_classes(outputs, rows)
        return Answer(classes, self.version, output)


async def discover(
    target: str,
    model: str,
    version: int | None,
    *,
    batch: int,
    timeout_seconds: float,
    connection: ConnectionConfig = PLAIN,
    version_label: str | None = None,
) -> TfsRest:
    """Ask the server for the model's input; see `tfs_grpc.discover`."""
    path = f"{_model_path(model, version, version_label)}/metadata"
    content = await get(target, path, timeout_seconds=timeout_seconds, connection=connection)
    try:
        document = json.loads(content)
        signatures = document["metadata"]["signature_def"]["signature_def"]
        inputs = [
            _model_input(name, tensor) for name, tensor in signatures[SIGNATURE]["inputs"].items()
        ]
        served = int(document["model_spec"]["version"])
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{target}{path} did not answer with TensorFlow Serving's metadata: {error!r}"
        raise CallError(BAD_RESPONSE, msg) from error
    known = check_input(inputs, model=model, batch=batch)
    return TfsRest(model, version, known, served, version_label)


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
        return {name: np.array([row[name] for row in predictions]) for name in predictions[0]}
    column = np.array(predictions)
    return {CLASSES if column.dtype.kind == "i" else _UNNAMED: column}
