"""The documents of a version, always changed together: metrics.json, MODEL_CARD.md, manifest.json.

The graphs of a version never change. Later measurements, on another machine or on other images, are
added to metrics.json as sections; MODEL_CARD.md and manifest.json are then written again.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.papers import model_card
from serving import schemas
from serving.errors import ServingError
from serving.repository import model_folder, publishing
from serving.repository.model_folder import ModelFolder
from serving.schemas import SchemaError
from serving.tensors.signature import Signature
from training import storage


def read(path: Path) -> tuple[ModelFolder, dict[str, Any]]:
    """Read a published version and check every file against its manifest.

    Returns:
        The version, and the content of its metrics.json.

    Raises:
        ExportError: the folder is not a published version, or a file was altered.
    """
    if not (path / model_folder.MANIFEST_FILE).is_file():
        msg = (
            f"{path} is not a published version: it has no {model_folder.MANIFEST_FILE}; pass a "
            "folder such as models/simcnn/1"
        )
        raise ExportError(msg)
    try:
        folder = model_folder.read(path)
        return folder, read_metrics(path)
    except ServingError as error:
        raise ExportError(error.message) from error


def read_metrics(path: Path) -> dict[str, Any]:
    """The content of a version's metrics.json.

    Raises:
        ExportError: metrics.json does not exist or is not JSON, or was written by a newer program.
    """
    file = path / model_folder.METRICS_FILE
    try:
        content: dict[str, Any] = schemas.METRICS.body(json.loads(file.read_text("utf-8")), file)
    except SchemaError as error:
        raise ExportError(str(error)) from error
    except (OSError, ValueError) as error:
        msg = f"{file} cannot be read ({error}); export the version again"
        raise ExportError(msg) from error
    return content


def was_trained_here(metrics: Mapping[str, Any]) -> bool:
    """Whether a version's figures are about the test images of a training of this project.

    The test data of a model from elsewhere say whether their labels are known.
    """
    data = metrics.get("data")
    return data is not None and "labels" not in data


def write(
    folder: Path,
    signatures: Mapping[str, Signature],
    metrics: dict[str, Any],
    *,
    class_names: tuple[str, ...] = (),
) -> None:
    """Write the documents of a new version, except manifest.json, which publishing writes.

    Args:
        folder: The unpublished version's folder, with its graphs.
        signatures: Signatures for signature.json, by name.
        metrics: Content for metrics.json.
        class_names: Class names for signature.json.
    """
    publishing.write_signatures(folder, signatures, class_names=class_names)
    publishing.write_json(folder / model_folder.METRICS_FILE, schemas.METRICS.stamped(metrics))
    card = render_card(folder, metrics)
    (folder / model_folder.MODEL_CARD_FILE).write_text(card, encoding="utf-8")


def render_card(path: Path, metrics: Mapping[str, Any]) -> str:
    """The model card of a version.

    Args:
        path: The version's folder, with signature.json.
        metrics: Content of the version's metrics.json.

    Raises:
        ExportError: a newer program wrote signature.json.
    """
    file = path / model_folder.SIGNATURE_FILE
    try:
        document = schemas.SIGNATURE.body(json.loads(file.read_text("utf-8")), file)
    except SchemaError as error:
        raise ExportError(str(error)) from error
    signatures = {
        name: Signature.from_json(entry) for name, entry in document["signatures"].items()
    }
    files = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    return model_card.render(metrics, signatures, files)


def expected_card(path: Path) -> str:
    """MODEL_CARD.md as rendered from metrics.json now.

    Raises:
        ExportError: a file of the version other than MODEL_CARD.md was altered.
    """
    try:
        model_folder.verify_manifest(path, besides={model_folder.MODEL_CARD_FILE})
    except ServingError as error:
        raise ExportError(error.message) from error
    return render_card(path, read_metrics(path))


def add_section(path: Path, name: str, section: Mapping[str, Any]) -> None:
    """Add or replace a section of metrics.json; write the model card again.

    Raises:
        ExportError: a file of the version was altered, or the folder cannot be written to.
    """
    metrics = {**read_metrics(path), name: section}
    _replace(
        path,
        {
            model_folder.METRICS_FILE: publishing.to_json(schemas.METRICS.stamped(metrics)),
            model_folder.MODEL_CARD_FILE: render_card(path, metrics),
        },
    )


def add_to_variants(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Add to or replace in the entries of `variants`, by precision; write the model card again.

    Raises:
        ExportError: a file of the version was altered, or the folder cannot be written to.
    """
    variants = read_metrics(path)["variants"]
    added = {name: {**variants[name], **entry} for name, entry in entries.items()}
    add_section(path, "variants", {**variants, **added})


def replace_signatures(folder: ModelFolder, signatures: Mapping[str, Signature]) -> None:
    """Replace the signatures in signature.json of a published version; write the card again.

    Raises:
        ExportError: a file of the version was altered, or the folder cannot be written to.
    """
    path = folder.path
    document = publishing.signatures_document(signatures, class_names=folder.class_names)
    _replace(path, {model_folder.SIGNATURE_FILE: publishing.to_json(document)})
    write_card(path)


def write_card(path: Path) -> None:
    """Write MODEL_CARD.md again from the version's other files.

    Raises:
        ExportError: another file was altered, or the folder cannot be written to.
    """
    _replace(path, {model_folder.MODEL_CARD_FILE: render_card(path, read_metrics(path))})


def _replace(path: Path, documents: Mapping[str, str]) -> None:
    try:
        publishing.replace_documents(path, documents)
    except ServingError as error:
        raise ExportError(error.message) from error
    except OSError as error:
        msg = f"{storage.explain(error, path)}; the version is as before"
        raise ExportError(msg) from error
