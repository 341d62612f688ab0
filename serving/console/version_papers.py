"""The papers of a version: its model card, and the accuracy that its `metrics.json` records."""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from serving import schemas
from serving.console.model_list import FolderOf
from serving.errors import ServingError
from serving.repository.model_folder import (
    METRICS_FILE,
    MODEL_CARD_FILE,
    PRECISIONS,
)
from serving.repository.version_folders import BasePath

# Larger files are not read: those of the bundled models have 11 and 94 kB.
_MOST_CARD_BYTES = 256 << 10
_MOST_METRICS_BYTES = 4 << 20
Parse = Callable[[str], dict[str, Any]]

_FIELDS = (
    *("n", "correct", "top1", "top1_wilson_95", "per_class_accuracy", "confusion_matrix"),
    *("bytes", "agreement"),
)


def read(base_path: BasePath, version: int, folder_of: FolderOf) -> dict[str, Any]:
    """Return the papers of a version. It waits for the disk: call it in a thread.

    Args:
        base_path: Folder of the model.
        version: Version number.
        folder_of: Returns the version's local folder.

    Returns:
        `card`, the text of the model card, None without one; `class_names`; `data`, name and number
        of the images; `parameters`; and `variants`: by precision the number `n` of images, the
        `correct` ones, `top1` with its interval `top1_wilson_95`, `per_class_accuracy` and
        `confusion_matrix` (row = label, column = answer), as far as they are recorded. `notes` says
        which file was not used, and why.
    """
    papers: dict[str, Any] = {
        "card": None,
        "class_names": [],
        "data": {},
        "parameters": None,
        "variants": {},
        "notes": [],
    }
    try:
        folder = folder_of(base_path, version)
    except (OSError, ServingError):
        papers["notes"].append("the folder of the version is gone")
        return papers
    for file, most_bytes, parse in (
        (folder / MODEL_CARD_FILE, _MOST_CARD_BYTES, _card),
        (folder / METRICS_FILE, _MOST_METRICS_BYTES, _accuracy),
    ):
        try:
            papers |= _parsed(file, most_bytes, parse)
        except OSError as error:
            papers["notes"].append(f"{file.name} cannot be read: {error.strerror}")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            papers["notes"].append(f"{file.name} cannot be understood: {error}")
    return papers


def _parsed(file: Path, most_bytes: int, parse: Parse) -> dict[str, Any]:
    """Return what a file says; empty if there is no such file.

    Raises:
        AttributeError, TypeError, ValueError: the file is too large, or another kind of file.
        OSError: the file cannot be read.
    """
    if not file.exists():
        return {}
    status = file.stat()
    if not file.is_file() or status.st_size > most_bytes:
        msg = f"it has {status.st_size} bytes, expected a file of {most_bytes} at most"
        raise ValueError(msg)
    return _cached(file, status.st_mtime_ns, status.st_size, parse)


@lru_cache(maxsize=32)
def _cached(file: Path, _changed_ns: int, size: int, parse: Parse) -> dict[str, Any]:
    """Read a file once for each state of it."""
    with file.open("rb") as stream:
        return parse(stream.read(size).decode(errors="replace"))


def _card(text: str) -> dict[str, Any]:
    return {"card": text}


def _accuracy(text: str) -> dict[str, Any]:
    """Return the fields of `read` that come from the text of a `metrics.json`.

    Raises:
        AttributeError, TypeError, ValueError: it is no `metrics.json`.
    """
    loaded = json.loads(text, parse_constant=lambda _name: None)  # browsers read no NaN
    document = schemas.METRICS.body(loaded, METRICS_FILE)
    variants = {
        precision: {field: entry[field] for field in _FIELDS if field in entry}
        for precision, entry in document.get("variants", {}).items()
        if precision in PRECISIONS and isinstance(entry, Mapping)
    }
    data = document.get("data", {})
    return {
        "class_names": document.get("class_names", []),
        "data": {field: data[field] for field in ("name", "images") if field in data},
        "parameters": document.get("parameters"),
        "variants": variants,
    }
