"""Publish a version of a model as a whole or not at all, and log each step with its time."""

import contextlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export import progress
from export.errors import ExportError
from serving.repository import model_folder, publishing
from serving.repository.model_folder import Precision
from training import storage

_log = logging.getLogger("export")


@dataclass(frozen=True, kw_only=True)
class PublishedVersion:
    """A version that was just published.

    Attributes:
        path: Folder of the version.
        metrics: Content of the version's metrics.json.
    """

    path: Path
    metrics: dict[str, Any]


def publish(
    models_dir: Path, name: str, write: Callable[[Path], None], *, version: int | None = None
) -> Path:
    """Publish a version of a model: it appears with all of its files, or not at all.

    Args:
        models_dir: The version becomes `<models_dir>/<name>/<N>/`.
        name: Name of the model.
        write: Function that writes every file of the version into the folder it receives.
        version: Number of the version, which must not exist yet; None for the next number.

    Returns:
        The version's folder.

    Raises:
        ExportError: the model name is invalid, the version exists, or the folder cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        msg = (
            f"model name {name!r} received, expected letters, digits, '_', '-' and '.', and none "
            "of '-' and '.' at the start; pass another --name"
        )
        raise ExportError(msg)
    model_dir = models_dir / name
    try:
        _check_is_new(model_dir, version)
        # The model's folder is removed again if it is empty after a failed first export.
        with storage.folder(model_dir):
            return publishing.publish(model_dir, write, version=version)
    except storage.StorageError as error:
        msg = f"{error}, or pass another --models-dir; nothing was published"
        raise ExportError(msg) from error
    except ExportError:
        raise
    except Exception as error:
        # TensorFlow reports a full disk with an error of its own.
        system = error if isinstance(error, OSError) else storage.quoted(error)
        if system is None:
            raise
        told = storage.explain(system, _place(system, model_dir))
        msg = f"{told}, or pass another --models-dir; nothing was published"
        raise ExportError(msg) from error


def _check_is_new(model_dir: Path, version: int | None) -> None:
    if version in model_folder.list_versions(model_dir):
        msg = f"{model_dir} has a version {version} already; remove it, or pass another --name"
        raise ExportError(msg)


def _place(error: OSError, model_dir: Path) -> Path:
    """Return the folder that cannot be written: the model's, or that of the temporary files."""
    temporary = Path(tempfile.gettempdir())
    name = error.filename2 or error.filename  # a copy names the source first
    named = Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None
    if named is None or model_dir in named.parents or temporary not in named.parents:
        return model_dir
    return temporary


def all_refused(rejected: Mapping[Precision, Mapping[str, Any]], way_out: str) -> str:
    """The message for the case that the gate refused all requested variants."""
    lines = [
        f"  model.{precision}.onnx {'; it '.join(entry['objections'])}"
        for precision, entry in rejected.items()
    ]
    return "\n".join(
        [
            "variant gate: it refused all requested precisions",
            *lines,
            f"  way out: {way_out}; nothing was published",
        ]
    )


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Show the block's progress, and log the time that it took if it raises no error."""
    began = time.perf_counter()
    with progress.during(what):
        yield
    _log.info("%s: %.1f s", what, time.perf_counter() - began)
