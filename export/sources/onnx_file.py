"""Read an ONNX file made elsewhere, and find its external data files (weights)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import TensorProto

from export.errors import ExportError
from export.failures import reason

_RESERVED = ("model.onnx", "signature.json", "metrics.json", "MODEL_CARD.md", "manifest.json")


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """An ONNX file that was read.

    Attributes:
        path: Path of the file.
        model: The model without the weights in external files.
        external: Paths of the external data files, relative to the file's folder.
    """

    path: Path
    model: onnx.ModelProto
    external: tuple[str, ...]


def read(path: Path) -> OnnxFile:
    """Read an ONNX file.

    Raises:
        ExportError: the file is not an ONNX model, or an external data file does not exist, is
            outside the file's folder, or has a reserved name.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        msg = f"{path} {what}, expected an ONNX file"
        if path.is_dir() and (path / "saved_model.pb").is_file():
            msg += "; publish a SavedModel with python -m export saved-model"
        raise ExportError(msg)
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); make it readable for this user"
        raise ExportError(msg) from error
    except (DecodeError, EncodeError, ValueError) as error:
        msg = f"{path} is not an ONNX model ({reason(error)}); copy or export it again"
        raise ExportError(msg) from error
    if not model.graph.output:
        msg = f"{path} is not an ONNX model with outputs; copy or export it again"
        raise ExportError(msg)
    external = tuple(dict.fromkeys(_locations(model)))
    for location in external:
        _check_location(path, location)
    return OnnxFile(path=path, model=model, external=external)


def _check_location(path: Path, location: str) -> None:
    parts = PurePosixPath(location)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        msg = (
            f"{path} has weights in {location!r}, expected a file in its own folder or below; save "
            "it again with onnx.save(model, file, save_as_external_data=True)"
        )
        raise ExportError(msg)
    if str(parts) in _RESERVED:
        msg = (
            f"{path} has weights in {location!r}, a name that a version's own file has; save it "
            "again with another location of its external data"
        )
        raise ExportError(msg)
    try:
        with (path.parent / location).open("rb"):
            pass
    except OSError as error:
        msg = (
            f"{path} has weights in {path.parent / location}, which cannot be read "
            f"({error.strerror}); copy that file too"
        )
        raise ExportError(msg) from error


def _locations(model: onnx.ModelProto) -> Iterator[str]:
    """The locations of the tensors in external data files."""
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            yield entries.get("location", "")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for item in node.attribute:
            if item.HasField("t"):
                yield item.t
            yield from item.tensors
            for inner in (*([item.g] if item.HasField("g") else ()), *item.graphs):
                yield from _tensors(inner)
