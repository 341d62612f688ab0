"""The Open Inference Protocol (KServe v2) over HTTP: tensors in JSON, or as raw bytes after it.

Raw bytes are Triton's binary tensor data extension (extension_binary_data.md): the header
`Inference-Header-Content-Length` has the length of the JSON, and the tensors follow it.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from loadtest.settings.config import PLAIN, ConnectionConfig, Header
from loadtest.transports.api import (
    BAD_RESPONSE,
    Answer,
    Api,
    CallError,
    ModelInput,
    check_input,
    read_classes,
)
from loadtest.transports.http_sender import get
from loadtest.transports.kserve_grpc import dtype_name, version_number
from serving.errors import InvalidInput
from serving.protocols.kserve import tensor_bytes
from serving.tensors.signature import DataType

_HEADER_LENGTH = "inference-header-content-length"
# The JSON of a binary request is filled up with spaces to this length, or a multiple of it. All
# requests then have the same headers, also the last one, which may hold fewer images.
_JSON_BYTES = 512


class KserveRest(Api):
    """Infer requests for one model, with tensors in JSON."""

    @property
    def path(self) -> str:
        """Path of the URL."""
        return f"{_model_path(self.model, self.version)}/infer"

    def payload(self, images: npt.NDArray[np.uint8]) -> bytes:
        """See Api."""
        array = images.astype(self.model_input.dtype, copy=False)
        return _json({"inputs": [self._tensor(array) | {"data": array.ravel().tolist()}]})

    def parse(self, response: bytes, rows: int) -> Answer:
        """See Api."""
        try:
            head, raw = _split(response)
            outputs = _outputs(head["outputs"], raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            start = response[:80].decode(errors="replace")
            msg = f'{start!r}... received, expected {{"outputs": [...]}} with data or raw bytes'
            raise ValueError(msg) from error
        except InvalidInput as error:
            msg = f"an output cannot be read: {error.message}"
            raise ValueError(msg) from error
        classes, output = read_classes(outputs, rows)
        return Answer(classes, version_number(head.get("model_version")), output)

    def _tensor(self, array: np.ndarray) -> dict[str, Any]:
        """Return the entry of an input without its content."""
        return {
            "name": self.model_input.name,
            "shape": list(array.shape),
            "datatype": tensor_bytes.datatype_of(DataType.from_numpy(array.dtype)),
        }


class KserveRestBinary(KserveRest):
    """Infer requests for one model, with tensors as raw bytes after the JSON."""

    @property
    def headers(self) -> tuple[Header, ...]:
        """The type of the body, and the length of its JSON."""
        length = self._json_bytes()
        return (("content-type", "application/octet-stream"), (_HEADER_LENGTH, str(length)))

    def payload(self, images: npt.NDArray[np.uint8]) -> bytes:
        """See Api."""
        array = np.ascontiguousarray(images.astype(self.model_input.dtype, copy=False))
        return self._head(array).ljust(self._json_bytes()) + array.tobytes()

    def _head(self, array: np.ndarray) -> bytes:
        sent = self._tensor(array) | {"parameters": {"binary_data_size": array.nbytes}}
        return _json({"inputs": [sent], "parameters": {"binary_data_output": True}})

    def _json_bytes(self) -> int:
        """Return the length of the JSON with its spaces; long names need more than most."""
        longest = len(_json(self.model_input.name)) + _JSON_BYTES // 2
        return -(-longest // _JSON_BYTES) * _JSON_BYTES


async def discover(
    target: str,
    model: str,
    version: int | None,
    *,
    batch: int,
    timeout_seconds: float,
    connection: ConnectionConfig = PLAIN,
    kind: type[KserveRest] = KserveRest,
) -> KserveRest:
    """Ask the server for the model's input; see `tfs_grpc.discover`.

    `kind` is the class of the returned API: tensors in JSON or as raw bytes.
    """
    path = _model_path(model, version)
    content = await get(target, path, timeout_seconds=timeout_seconds, connection=connection)
    try:
        inputs = [
            ModelInput(known["name"], dtype_name(known["datatype"]), _sizes(known["shape"]))
            for known in json.loads(content)["inputs"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{target}{path} did not answer with KServe's metadata: {error!r}"
        raise CallError(BAD_RESPONSE, msg) from error
    return kind(model, version, check_input(inputs, model=model, batch=batch))


def _model_path(model: str, version: int | None) -> str:
    return f"/v2/models/{model}" + ("" if version is None else f"/versions/{version}")


def _sizes(shape: Sequence[Any]) -> tuple[int, ...]:
    return tuple(int(size) for size in shape)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _split(response: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return the JSON at the beginning of an answer and the bytes after it.

    The JSON shows its own end. It is searched in Latin-1, where characters are bytes.
    """
    _, end = json.JSONDecoder().raw_decode(response.decode("latin-1"))
    head: dict[str, Any] = json.loads(response[:end])
    return head, memoryview(response)[end:]


def _outputs(entries: Sequence[dict[str, Any]], raw: memoryview) -> dict[str, np.ndarray]:
    sizes = [entry.get("parameters", {}).get("binary_data_size", 0) for entry in entries]
    place = len(raw) - sum(sizes)  # spaces may follow the JSON
    if place < 0:
        msg = f"{len(raw)} bytes after the JSON, {sum(sizes)} expected"
        raise ValueError(msg)
    outputs = {}
    for entry, size in zip(entries, sizes, strict=True):
        datatype, shape = entry["datatype"], entry["shape"]
        if "data" in entry:
            array = np.array(entry["data"])
            if datatype != "BYTES":
                array = array.astype(tensor_bytes.to_data_type(datatype).numpy)
            outputs[entry["name"]] = array.reshape(shape)
        else:
            content = raw[place : place + size]
            outputs[entry["name"]] = tensor_bytes.decode_raw(datatype, shape, content)
            place += size
    return outputs
