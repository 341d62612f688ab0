"""Publishes versions: writes the files to a staging folder, syncs them and renames the folder."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from serving import schemas
from serving.repository.model_folder import (
    MANIFEST_FILE,
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
    """Write `signature.json` into the folder of a version that is not published yet."""
    write_json(path / SIGNATURE_FILE, signatures_document(signatures, class_names=class_names))


def signatures_document(
    signatures: Mapping[str, Signature], *, class_names: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the content of `signature.json` as JSON objects."""
    document: dict[str, Any] = {
        "signatures": {name: signature.to_json() for name, signature in signatures.items()}
    }
    if class_names:
        document["class_names"] = list(class_names)
    return schemas.SIGNATURE.stamped(document)


def write_json(file: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file: indented, UTF-8, with a newline at the end."""
    file.write_text(to_json(document))


def to_json(document: Mapping[str, Any]) -> str:
    """Return the text that `write_json` writes."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def replace_documents(path: Path, documents: Mapping[str, str]) -> None:
    """Replace documents of a published version, and then its manifest.

    Use it only for documents (metrics.json, MODEL_CARD.md), never for graphs or signature.json.
    Each file is replaced atomically, and the first one only when all are on the disk: on a full
    disk the version stays as it is. A reader that reads the version before the manifest is replaced
    gets DataLoss and must retry.

    Args:
        path: `<models_dir>/<name>/<version>`.
        documents: New contents by file name.

    Raises:
        DataLoss: another file contradicts the manifest; then nothing is written.
        FailedPrecondition: a newer program wrote the manifest; then nothing is written.
        OSError: the folder cannot be written to.
    """
    verify_manifest(path, besides=documents)
    manifest = json.loads((path / MANIFEST_FILE).read_text())
    for name, text in documents.items():
        content = text.encode()
        entry = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        manifest["files"][name] = entry
    manifest["files"] = dict(sorted(manifest["files"].items()))
    _replace(path, {**documents, MANIFEST_FILE: to_json(manifest)})


def publish(model_dir: Path, write: Callable[[Path], None], *, version: int | None = None) -> Path:
    """Publish a version of a model: readers see the complete version or none.

    Args:
        model_dir: `<models_dir>/<name>`; created if it is missing.
        write: Writes the version's files to an empty folder. If it raises, nothing is published.
        version: Version number; None for the next free number.

    Returns:
        The new version's folder.

    Raises:
        OSError: the folder cannot be written to, or the version exists already.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    with staging(model_dir) as folder:
        write(folder)
        _write_manifest(folder)
        folder.chmod(0o755)  # mkdtemp creates private folders; a server may run as another user
        for file in folder.rglob("*"):
            _sync(file)
        _sync(folder)
        while True:
            number = max(list_versions(model_dir), default=0) + 1 if version is None else version
            target = model_dir / str(number)
            try:
                folder.rename(target)
            except OSError:  # another export has published this number meanwhile: take the next
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
    write_json(path / MANIFEST_FILE, schemas.MANIFEST.stamped({"files": files}))


def _replace(folder: Path, texts: Mapping[str, str]) -> None:
    """Replace files in order: a reader sees either the old or the new content of each."""
    written: dict[Path, str] = {}
    try:
        for name, text in texts.items():
            descriptor, staged = tempfile.mkstemp(prefix=f".{name}-", dir=folder)
            written[folder / name] = staged
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(text.encode())
                stream.flush()
                os.fsync(stream.fileno())
            Path(staged).chmod(0o644)  # mkstemp creates private files
        for file, staged in written.items():
            Path(staged).replace(file)
    except BaseException:
        for staged in written.values():
            Path(staged).unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    """Sync a file or folder to disk, so that a power cut cannot leave a manifest without files."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
