"""The model folder: the one reader and writer of `<models_dir>/<name>/<version>/`.

A version holds `model.onnx`, `signature.json`, further files (SavedModel, metrics, model card) and
`manifest.json`, which lists the size and SHA-256 of every other file and is written last. A version
is written beside its final place and renamed into it, so a reader sees all of it or nothing; a copy
that is still under way contradicts its manifest and is refused.

A folder with an ONNX file alone is a version too: its signature is then read from the graph.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import DataLoss
from serving.signature import Signature

ONNX_FILE = "model.onnx"
SIGNATURE_FILE = "signature.json"
METRICS_FILE = "metrics.json"
MODEL_CARD_FILE = "MODEL_CARD.md"
MANIFEST_FILE = "manifest.json"
MANIFEST_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A version on disk whose files agree with its manifest.

    Attributes:
        path: The version's folder.
        onnx_files: The graphs to load: one for all signatures, or one each.
        signatures: By signature name; empty if the folder holds an ONNX file alone.
        class_names: Names of the classes in output order; empty if the model has none.
    """

    path: Path
    onnx_files: tuple[Path, ...]
    signatures: Mapping[str, Signature]
    class_names: tuple[str, ...] = ()


def list_versions(model_dir: Path) -> list[int]:
    """Version numbers of a model in ascending order; folders with other names are ignored.

    Args:
        model_dir: `<models_dir>/<name>`; a missing folder has no versions.
    """
    if not model_dir.is_dir():
        return []
    return sorted(
        int(entry.name)
        for entry in model_dir.iterdir()
        if entry.name.isascii() and entry.name.isdigit() and entry.is_dir()
    )


def version_path(model_dir: Path, version: int) -> Path:
    """The folder of a version; like TensorFlow Serving, leading zeros (`0001`) are accepted.

    Raises:
        FileNotFoundError: there is no such version.
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
    """Names, sizes and times of a version's files: differs once any of them changes.

    Args:
        model_dir: `<models_dir>/<name>`.
        version: Version number; a missing version has an empty fingerprint.
    """
    try:
        path = version_path(model_dir, version)
        return frozenset(
            (str(file), file.stat().st_size, file.stat().st_mtime_ns)
            for file in path.rglob("*")
            if file.is_file()
        )
    except OSError:  # a file or the folder went away while it was looked at
        return frozenset()


def read(path: Path) -> ModelFolder:
    """Read a version and check every file of it against the manifest.

    Args:
        path: `<models_dir>/<name>/<version>`.

    Raises:
        DataLoss: a file is missing, truncated or altered, or a JSON file cannot be understood.
    """
    signature_file = path / SIGNATURE_FILE
    if (path / MANIFEST_FILE).exists():
        verify_manifest(path)
    elif signature_file.exists():
        msg = (
            f"{path} has {SIGNATURE_FILE} but no {MANIFEST_FILE}: the version is incomplete; "
            "wait until it is copied whole, or export it again"
        )
        raise DataLoss(msg)
    if not signature_file.exists():
        return ModelFolder(path=path, onnx_files=(_only_onnx_file(path),), signatures={})
    try:
        document = json.loads(signature_file.read_text())
        signatures = {
            name: Signature.from_json(entry) for name, entry in document["signatures"].items()
        }
        class_names = tuple(str(name) for name in document.get("class_names", ()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = f"{signature_file} cannot be understood ({error!r}); export the model again"
        raise DataLoss(msg) from error
    onnx_files = tuple(sorted({path / signature.file for signature in signatures.values()}))
    for onnx_file in onnx_files:
        if not onnx_file.is_file():
            msg = f"{signature_file} names {onnx_file.name}, which is not there; export it again"
            raise DataLoss(msg)
    if not onnx_files:
        msg = f"{signature_file} holds no signature, expected at least one; export it again"
        raise DataLoss(msg)
    return ModelFolder(
        path=path, onnx_files=onnx_files, signatures=signatures, class_names=class_names
    )


def verify_manifest(path: Path) -> None:
    """Compare every file that the manifest lists with its recorded size and SHA-256.

    Raises:
        DataLoss: naming the first file that differs, with both values.
    """
    manifest_file = path / MANIFEST_FILE
    try:
        files = json.loads(manifest_file.read_text())["files"].items()
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        msg = f"{manifest_file} cannot be understood ({error!r}); copy or export the version again"
        raise DataLoss(msg) from error
    for name, expected in sorted(files):
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
        digest = _sha256(file)
        if digest != expected["sha256"]:
            msg = (
                f"{file} has SHA-256 {digest}, {MANIFEST_FILE} says {expected['sha256']}: "
                "the file was altered; copy or export the version again"
            )
            raise DataLoss(msg)


def write_signatures(
    path: Path, signatures: Mapping[str, Signature], *, class_names: tuple[str, ...] = ()
) -> None:
    """Write `signature.json` into a version that is being made."""
    document: dict[str, Any] = {
        "signatures": {name: signature.to_json() for name, signature in signatures.items()}
    }
    if class_names:
        document["class_names"] = list(class_names)
    write_json(path / SIGNATURE_FILE, document)


def write_json(file: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file for people and machines: indented, UTF-8, one newline at the end."""
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def publish(model_dir: Path, write: Callable[[Path], None]) -> Path:
    """Write the next version of a model: all of it appears at once, or nothing.

    Args:
        model_dir: `<models_dir>/<name>`; created if it is missing.
        write: Fills the empty folder it is given; whatever it raises leaves no trace.

    Returns:
        The new version's folder.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".publishing-", dir=model_dir))
    try:
        write(staging)
        _write_manifest(staging)
        staging.chmod(0o755)  # mkdtemp makes private folders; a server may run as another user
        for file in staging.rglob("*"):
            _sync(file)
        _sync(staging)
        while True:
            target = model_dir / str(max(list_versions(model_dir), default=0) + 1)
            try:
                staging.rename(target)
            except OSError:  # another export took this number in between: take the next
                if not target.exists():
                    raise
            else:
                break
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _sync(model_dir)
    return target


def _only_onnx_file(path: Path) -> Path:
    onnx_files = sorted(path.glob("*.onnx"))
    preferred = path / ONNX_FILE
    if preferred in onnx_files:
        return preferred
    if len(onnx_files) == 1:
        return onnx_files[0]
    found = ", ".join(file.name for file in onnx_files) or "none"
    msg = f"{path} needs a {ONNX_FILE}, or exactly one other .onnx file; found {found}"
    if (path / "saved_model.pb").exists():
        msg += "; convert the SavedModel with `python -m export saved-model`"
    raise DataLoss(msg)


def _write_manifest(path: Path) -> None:
    files = {
        file.relative_to(path).as_posix(): {"size": file.stat().st_size, "sha256": _sha256(file)}
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    write_json(path / MANIFEST_FILE, {"format": MANIFEST_FORMAT, "files": files})


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Flush a file or folder to disk, so that a power cut cannot leave a manifest without files."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
