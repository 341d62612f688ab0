"""The Open Inference Protocol (KServe v2) over HTTP: tensors in JSON, or as raw bytes after it.

Raw bytes are Triton's binary tensor data extension (extension_binary_data.md): the header
`Inference-Header-Content-Length` has the length of the JSON, and the tensors follow it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from loadtest.settings.config import PLAIN, ConnectionConfig, Header, UsageError
from loadtest.transports.api import BAD_RESPONSE, DEFAULT_MODEL_INPUT, Api, CallError, ModelInput
from loadtest.transports.http_sender import get
from loadtest.transports.kserve_grpc import datatype_of, dtype_name, version_number
from serving.errors import InvalidInput
from serving.protocols.kserve import tensor_bytes
from serving.tensors import bfloat16

_HEADER_LENGTH = "inference-header-content-length"
# The JSON of a binary request is filled up with spaces to this length, or a multiple of it. All
# requests then have the same headers, also the last one, which may hold fewer rows.
_JSON_BYTES = 512


class KserveRest(Api):
    """Infer requests for one model, with tensors in JSON."""

    @property
    def path(self) -> str:
        """Path of the URL."""
        return f"{_model_path(self.model, self.version)}/infer"

    def encode(self, arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
        """See Api."""
        tensors = [_tensor(name, array) | {"data": _data(array)} for name, array in arrays.items()]
        return _json({"inputs": tensors})

    def decode(self, response: bytes) -> tuple[dict[str, npt.NDArray[Any]], int | None]:
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
        return outputs, version_number(head.get("model_version"))


class KserveRestBinary(KserveRest):
    """Infer requests for one model, with tensors as raw bytes after the JSON."""

    @property
    def headers(self) -> tuple[Header, ...]:
        """The type of the body, and the length of its JSON."""
        length = self._json_bytes()
        return (("content-type", "application/octet-stream"), (_HEADER_LENGTH, str(length)))

    def encode(self, arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
        """See Api."""
        contents = [tensor_bytes.encode_raw(array) for array in arrays.values()]
        tensors = [
            _tensor(name, array) | {"parameters": {"binary_data_size": len(content)}}
            for (name, array), content in zip(arrays.items(), contents, strict=True)
        ]
        head = _json({"inputs": tensors, "parameters": {"binary_data_output": True}})
        return head.ljust(self._json_bytes()) + b"".join(contents)

    def _json_bytes(self) -> int:
        """Return the length of the JSON with its spaces; long names need more than most."""
        known = self.inputs or (DEFAULT_MODEL_INPUT,)
        longest = sum(len(_json(one.name)) + _JSON_BYTES // 2 for one in known)
        return -(-longest // _JSON_BYTES) * _JSON_BYTES


async def discover(
    target: str,
    model: str,
    version: int | None,
    *,
    timeout_seconds: float,
    connection: ConnectionConfig = PLAIN,
    kind: type[KserveRest] = KserveRest,
) -> KserveRest:
    """Ask the server for the model's inputs; see `tfs_grpc.discover`.

    `kind` is the class of the returned API: tensors in JSON or as raw bytes.
    """
    path = _model_path(model, version)
    content = await get(target, path, timeout_seconds=timeout_seconds, connection=connection)
    try:
        inputs = tuple(
            ModelInput(known["name"], dtype_name(known["datatype"]), _sizes(known["shape"]))
            for known in json.loads(content)["inputs"]
        )
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{target}{path} did not answer with KServe's metadata: {error!r}"
        raise CallError(BAD_RESPONSE, msg) from error
    return kind(model, version, inputs)


def _model_path(model: str, version: int | None) -> str:
    return f"/v2/models/{model}" + ("" if version is None else f"/versions/{version}")


def _sizes(shape: Sequence[Any]) -> tuple[int, ...]:
    return tuple(int(size) for size in shape)


def _tensor(name: str, array: npt.NDArray[Any]) -> dict[str, Any]:
    """Return the entry of an input without its content."""
    return {"name": name, "shape": list(array.shape), "datatype": datatype_of(array)}


def _data(array: npt.NDArray[Any]) -> list[Any]:
    """Return the elements of a tensor for JSON.

    Raises:
        UsageError: A text is no UTF-8, which JSON consists of.
    """
    if array.dtype.kind != "O":
        elements: list[Any] = bfloat16.to_floats(array).ravel().tolist()
        return elements
    try:
        return [text.decode() for text in array.ravel()]
    except UnicodeDecodeError as error:
        msg = f"JSON has no bytes that are not UTF-8 ({error}); use --transport kserve-rest-binary"
        raise UsageError(msg) from error


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
            if datatype not in ("BYTES", "BF16"):  # NumPy has no bfloat16; its floats are exact
                array = array.astype(tensor_bytes.to_data_type(datatype).numpy)
            outputs[entry["name"]] = array.reshape(shape)
        else:
            content = raw[place : place + size]
            outputs[entry["name"]] = tensor_bytes.decode_raw(datatype, shape, content)
            place += size
    return outputs
