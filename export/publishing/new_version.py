"""The next version of a model: written as a whole or not at all, each step logged with its time."""

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.errors import ExportError
from serving.repository import model_folder, publishing
from serving.repository.model_folder import Precision

_log = logging.getLogger("export")


@dataclass(frozen=True, kw_only=True)
class PublishedVersion:
    """A new version.

    Attributes:
        path: Its folder.
        metrics: Content of its metrics.json.
    """

    path: Path
    metrics: dict[str, Any]


def publish(
    models_dir: Path, name: str, write: Callable[[Path], None], *, version: int | None = None
) -> Path:
    """Write a version of a model: all of it appears, or nothing.

    Args:
        models_dir: The version becomes `<models_dir>/<name>/<N>/`.
        name: Name of the model.
        write: Writes every file of the version into the folder that it is given.
        version: Its number, which must be free; None for the next one.

    Returns:
        Its folder.

    Raises:
        ExportError: the name is none, or the place cannot be written to.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        msg = f"model name {name!r} is not made of letters, digits, '_', '-' and '.' alone"
        raise ExportError(msg)
    model_dir = models_dir / name
    try:
        if version in model_folder.list_versions(model_dir):
            msg = f"{model_dir} has a version {version} already; remove it, or pass another --name"
            raise ExportError(msg)
        return publishing.publish(model_dir, write, version=version)
    except OSError as error:
        msg = (
            f"cannot write to {model_dir} ({error.strerror or error}); free some space, make it "
            "writable, or pass another --models-dir"
        )
        raise ExportError(msg) from error
    finally:
        # A failed first export leaves no empty model behind; folders with versions stay.
        with contextlib.suppress(OSError):
            model_dir.rmdir()


def all_refused(rejected: Mapping[Precision, Mapping[str, Any]], way_out: str) -> str:
    """The message if no variant that was asked for may be published."""
    lines = [
        f"  model.{precision}.onnx {'; it '.join(entry['objections'])}"
        for precision, entry in rejected.items()
    ]
    return "\n".join(
        [
            "variant gate: none of the precisions asked for may be published",
            *lines,
            f"  way out: {way_out}; nothing was published",
        ]
    )


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Log how long something took."""
    began = time.perf_counter()
    yield
    _log.info("%s: %.1f s", what, time.perf_counter() - began)
