"""Publishing a version: its files are written aside, synced, and renamed into place."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from serving.repository.model_folder import (
    MANIFEST_FILE,
    MANIFEST_FORMAT,
    SIGNATURE_FILE,
    list_versions,
    sha256,
    verify_manifest,
)
from serving.repository.staging import staging
from serving.tensors.signature import Signature


def write_signatures(
    path: Path, signatures: Mapping[str, Signature], *, class_names: tuple[str, ...] = ()
) -> None:
    """Write `signature.json` into a version that is being made."""
    write_json(path / SIGNATURE_FILE, signatures_document(signatures, class_names=class_names))


def signatures_document(
    signatures: Mapping[str, Signature], *, class_names: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The content of `signature.json`."""
    document: dict[str, Any] = {
        "signatures": {name: signature.to_json() for name, signature in signatures.items()}
    }
    if class_names:
        document["class_names"] = list(class_names)
    return document


def write_json(file: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file for people and machines: indented, UTF-8, one newline at the end."""
    file.write_text(to_json(document))


def to_json(document: Mapping[str, Any]) -> str:
    """The text that `write_json` writes."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def replace_documents(path: Path, documents: Mapping[str, str]) -> None:
    """Write texts of a published version anew, and its manifest after them.

    For what is said about a version, never for what is served. Each file is replaced at once; who
    reads the version in between finds a text that contradicts the manifest and has to look again.

    Args:
        path: `<models_dir>/<name>/<version>`.
        documents: Contents by file name.

    Raises:
        DataLoss: another file than these contradicts the manifest; nothing is written.
    """
    verify_manifest(path, besides=documents)
    manifest = json.loads((path / MANIFEST_FILE).read_text())
    for name, text in documents.items():
        _replace(path / name, text)
        content = text.encode()
        entry = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        manifest["files"][name] = entry
    manifest["files"] = dict(sorted(manifest["files"].items()))
    _replace(path / MANIFEST_FILE, to_json(manifest))


def publish(model_dir: Path, write: Callable[[Path], None], *, version: int | None = None) -> Path:
    """Write a version of a model: all of it appears at once, or nothing.

    Args:
        model_dir: `<models_dir>/<name>`; created if it is missing.
        write: Fills the empty folder it is given; whatever it raises leaves no trace.
        version: Its number; None for the next one.

    Returns:
        The new version's folder.

    Raises:
        OSError: the folder cannot be written to, or the version is there already.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    with staging(model_dir) as folder:
        write(folder)
        _write_manifest(folder)
        folder.chmod(0o755)  # mkdtemp makes private folders; a server may run as another user
        for file in folder.rglob("*"):
            _sync(file)
        _sync(folder)
        while True:
            number = max(list_versions(model_dir), default=0) + 1 if version is None else version
            target = model_dir / str(number)
            try:
                folder.rename(target)
            except OSError:  # another export took this number in between: take the next
                if version is not None or not target.exists():
                    raise
            else:
                break
    _sync(model_dir)
    return target


def _write_manifest(path: Path) -> None:
    files = {
        file.relative_to(path).as_posix(): {"size": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    write_json(path / MANIFEST_FILE, {"format": MANIFEST_FORMAT, "files": files})


def _replace(file: Path, text: str) -> None:
    """Replace a file at once: a reader sees its old content or its new one."""
    descriptor, staging = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text.encode())
            os.fsync(stream.fileno())
        Path(staging).chmod(0o644)  # mkstemp makes private files
        Path(staging).replace(file)
    except BaseException:
        Path(staging).unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    """Flush a file or folder to disk, so that a power cut cannot leave a manifest without files."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
