"""Reads and verifies version folders, `<models_dir>/<name>/<version>/`.

A version holds `model.onnx`, `signature.json`, further files (SavedModel, metrics, model card) and
`manifest.json`, which lists the size and SHA-256 of every other file and is written last. A version
is written to a staging folder that is then renamed, so a reader sees the complete version or none
(see `publishing`). A version whose copying is not finished contradicts its manifest and is refused.

A folder that holds only an ONNX file is a version too; its signature is read from the graph. A
folder with a SavedModel (`saved_model.pb`, or the text form `saved_model.pbtxt`) and no ONNX file
is a version that TensorFlow runs, if it is installed.

A version may hold the graph in several precisions, as variants of `model.onnx`::

    model.onnx        fp32: as the model was trained (called fp32 whatever type it computes in)
    model.fp16.onnx   half floats
    model.w8.onnx     weights in 8 bits, computed in float32
    model.int8.onnx   weights and activations in 8 bits

Signatures always call the graph `model.onnx`, even if the folder holds only other precisions.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from serving import schemas
from serving.errors import DataLoss, FailedPrecondition
from serving.schemas import Schema, SchemaError
from serving.tensors.signature import Signature

ONNX_FILE = "model.onnx"
SAVED_MODEL_FILE = "saved_model.pb"
# In the order in which TensorFlow looks for them; the second file holds the message as text.
_SAVED_MODEL_FILES = (SAVED_MODEL_FILE, "saved_model.pbtxt")
SIGNATURE_FILE = "signature.json"
METRICS_FILE = "metrics.json"
MODEL_CARD_FILE = "MODEL_CARD.md"
MANIFEST_FILE = "manifest.json"
_SUFFIX = ".onnx"

Precision = Literal["fp32", "fp16", "w8", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A version on disk whose files agree with its manifest.

    Attributes:
        path: The version's folder.
        precision: Precision of the graphs to load.
        onnx_files: Paths of the graphs to load by `Signature.file`, which is the file name without
            a precision; one graph for all signatures, or one for each. Empty for a SavedModel.
        signatures: The signatures by name; empty if the folder has no `signature.json`.
        class_names: Names of the classes in output order; empty if the model has none.
        digests: SHA-256 of every file in the manifest, by its path in the folder; empty if the
            folder has no `signature.json`.
    """

    path: Path
    precision: Precision
    onnx_files: Mapping[str, Path]
    signatures: Mapping[str, Signature]
    class_names: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_saved_model(self) -> bool:
        """Whether TensorFlow must run the version."""
        return not self.onnx_files


def list_versions(model_dir: Path) -> list[int]:
    """Return a model's version numbers in ascending order; folders with other names are ignored.

    Args:
        model_dir: `<models_dir>/<name>`; a missing folder, or a file, has no versions.

    Raises:
        OSError: the folder cannot be read.
    """
    try:
        return sorted(
            int(entry.name)
            for entry in model_dir.iterdir()
            if entry.name.isascii() and entry.name.isdigit() and entry.is_dir()
        )
    except (FileNotFoundError, NotADirectoryError):
        return []


def version_path(model_dir: Path, version: int) -> Path:
    """Return the folder of a version; leading zeros (`0001`) count, as in TensorFlow Serving.

    Raises:
        FileNotFoundError: the version does not exist.
    """
    plain = model_dir / str(version)
    if plain.is_dir():
        return plain
    for entry in model_dir.glob("0*"):
        if entry.name.isascii() and entry.name.isdigit() and int(entry.name) == version:
            return entry
    msg = f"version {version} not found in {model_dir}"
    raise FileNotFoundError(msg)


def fingerprint(model_dir: Path, version: int) -> frozenset[tuple[str, int, int]]:
    """Return a fingerprint of a version's files, which changes if any of the files changes.

    Args:
        model_dir: `<models_dir>/<name>`.
        version: Version number.

    Returns:
        Path, size in bytes and modification time in ns of each file; empty if the version is
        missing.
    """
    try:
        path = version_path(model_dir, version)
        return frozenset(
            (str(file), file.stat().st_size, file.stat().st_mtime_ns)
            for file in path.rglob("*")
            if file.is_file()
        )
    except OSError:  # a file or the folder was removed meanwhile
        return frozenset()


def variant_file(file: str, precision: Precision) -> str:
    """Return the file name of a graph in a precision: `model.onnx` in int8 is `model.int8.onnx`."""
    plain, _ = _plain_file(file)
    return plain if precision == "fp32" else f"{plain.removesuffix(_SUFFIX)}.{precision}{_SUFFIX}"


def _plain_file(file: str) -> tuple[str, Precision]:
    """Split a file name into the name without a precision, and the precision."""
    stem = file.removesuffix(_SUFFIX)
    for precision in PRECISIONS:
        if precision != "fp32" and stem.endswith(f".{precision}"):
            return stem.removesuffix(f".{precision}") + _SUFFIX, precision
    return file, "fp32"


def read(path: Path, precisions: Sequence[Precision] = PRECISIONS) -> ModelFolder:
    """Read a version and check all of its files against the manifest.

    Args:
        path: `<models_dir>/<name>/<version>`.
        precisions: The acceptable precisions, the preferred one first.

    Raises:
        DataLoss: a file is missing, truncated or altered, or a JSON file is invalid.
        FailedPrecondition: the version has none of the precisions, or was written by a newer
            program.
    """
    signature_file = path / SIGNATURE_FILE
    digests: Mapping[str, str] = {}
    if (path / MANIFEST_FILE).exists():
        digests = verify_manifest(path)
    elif signature_file.exists():
        msg = (
            f"{path} has {SIGNATURE_FILE} but no {MANIFEST_FILE}: the version is incomplete; "
            "wait until it is copied whole, or export it again"
        )
        raise DataLoss(msg)
    if not signature_file.exists():
        if _is_saved_model(path):
            plain = _require_precision(path, ["fp32"], precisions)
            return ModelFolder(path=path, precision=plain, onnx_files={}, signatures={})
        precision, onnx_files = _choose(path, {_only_onnx_file(path)}, precisions)
        return ModelFolder(path=path, precision=precision, onnx_files=onnx_files, signatures={})
    try:
        document = _read_document(signature_file, schemas.SIGNATURE)
        signatures = {
            name: Signature.from_json(entry) for name, entry in document["signatures"].items()
        }
        class_names = tuple(str(name) for name in document.get("class_names", ()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = f"{signature_file} cannot be understood ({error!r}); export the model again"
        raise DataLoss(msg) from error
    if not signatures:
        msg = f"{signature_file} holds no signature, expected at least one; export it again"
        raise DataLoss(msg)
    files = {signature.file for signature in signatures.values()}
    precision, onnx_files = _choose(path, files, precisions)
    return ModelFolder(
        path=path,
        precision=precision,
        onnx_files=onnx_files,
        signatures=signatures,
        class_names=class_names,
        digests=digests,
    )


def _choose(
    path: Path, files: Collection[str], precisions: Sequence[Precision]
) -> tuple[Precision, dict[str, Path]]:
    """Choose the first acceptable precision in which all graphs exist.

    Args:
        path: The version's folder.
        files: File names of the graphs without a precision.
        precisions: The acceptable precisions, the preferred one first.

    Returns:
        The precision, and the paths of the graphs by file name.

    Raises:
        DataLoss: there is no precision at all in which all graphs exist.
        FailedPrecondition: the graphs exist only in other precisions.
    """
    variants = {
        precision: {file: path / variant_file(file, precision) for file in sorted(files)}
        for precision in PRECISIONS
    }
    present = [
        precision
        for precision, paths in variants.items()
        if all(file.is_file() for file in paths.values())
    ]
    if not present:
        missing = next(
            (file for file, onnx_file in variants["fp32"].items() if not onnx_file.is_file())
        )
        msg = f"{path / SIGNATURE_FILE} names {missing}, which is not there; export it again"
        raise DataLoss(msg)
    precision = _require_precision(path, present, precisions)
    return precision, variants[precision]


def _require_precision(
    path: Path, present: Sequence[Precision], precisions: Sequence[Precision]
) -> Precision:
    """Return the first of the acceptable precisions that is present.

    Args:
        path: The version's folder, for the message.
        present: The precisions of the version.
        precisions: The acceptable precisions, the preferred one first.

    Raises:
        FailedPrecondition: none of the acceptable precisions is present.
    """
    for precision in precisions:
        if precision in present:
            return precision
    msg = (
        f"{path} does not have the precision {' or '.join(precisions)}; it has "
        f"{', '.join(present)}: start the server with --precision auto or one of these, or export "
        "the version again"
    )
    raise FailedPrecondition(msg)


def verify_manifest(path: Path, besides: Collection[str] = ()) -> dict[str, str]:
    """Compare every file that the manifest lists with its recorded size and SHA-256.

    Args:
        path: `<models_dir>/<name>/<version>`.
        besides: Names of files that are not checked.

    Returns:
        The SHA-256 of each checked file, by its path in the folder.

    Raises:
        DataLoss: the manifest is invalid, or a file is missing or differs; the message names the
            first such file.
        FailedPrecondition: the manifest was written by a newer program.
    """
    manifest_file = path / MANIFEST_FILE
    try:
        files = _read_document(manifest_file, schemas.MANIFEST)["files"].items()
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        msg = f"{manifest_file} cannot be understood ({error!r}); copy or export the version again"
        raise DataLoss(msg) from error
    digests: dict[str, str] = {}
    for name, expected in sorted(files):
        if name in besides:
            continue
        file = path / name
        if not file.is_file():
            msg = f"{file} is listed in {MANIFEST_FILE} but missing; copy the version again"
            raise DataLoss(msg)
        size = file.stat().st_size
        if size != expected["size"]:
            msg = (
                f"{file} has {size} bytes, {MANIFEST_FILE} says {expected['size']}: "
                "truncated or still being copied; copy the version again"
            )
            raise DataLoss(msg)
        digest = sha256(file)
        if digest != expected["sha256"]:
            msg = (
                f"{file} has SHA-256 {digest}, {MANIFEST_FILE} says {expected['sha256']}: "
                "the file was altered; copy or export the version again"
            )
            raise DataLoss(msg)
        digests[name] = digest
    return digests


def _read_document(file: Path, schema: Schema) -> Any:  # noqa: ANN401 - any JSON
    """Read a JSON file of a version.

    Raises:
        OSError, ValueError: the file cannot be read, or is not JSON.
        FailedPrecondition: its schema version is one that this program does not read.
    """
    document = json.loads(file.read_text())
    try:
        return schema.body(document, file)
    except SchemaError as error:
        raise FailedPrecondition(str(error)) from error


def _only_onnx_file(path: Path) -> str:
    onnx_files = sorted(file.name for file in path.glob(f"*{_SUFFIX}"))
    plain = {_plain_file(file)[0] for file in onnx_files}
    if ONNX_FILE in plain:
        return ONNX_FILE
    if len(plain) == 1:
        return plain.pop()
    msg = f"{path} needs a {ONNX_FILE}, or exactly one other .onnx file"
    if onnx_files:
        msg += f"; found {', '.join(onnx_files)}"
    else:
        msg += f", or a SavedModel ({' or '.join(_SAVED_MODEL_FILES)}); found none"
    raise DataLoss(msg)


def _is_saved_model(path: Path) -> bool:
    """Return whether a folder holds a SavedModel and no ONNX file."""
    has_one = any((path / file).is_file() for file in _SAVED_MODEL_FILES)
    return has_one and not any(path.glob(f"*{_SUFFIX}"))


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
