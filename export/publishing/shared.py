"""What every way to publish a version shares: the images, the place, the steps' log."""

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.precisions import calibration
from export.precisions.calibration import Calibration
from export.precisions.make import INT8
from serving.repository import publishing
from serving.repository.model_folder import Precision
from training.data.cifar10 import DataError, Split, SplitName, load_split

_SPLITS: dict[SplitName, str] = {"train": "training", "test": "test"}
_log = logging.getLogger("export")


def images(data_dir: Path | None, name: SplitName, *, sha256: str | None, used_by: Path) -> Split:
    """The training or test images that a model was made with.

    Args:
        data_dir: See training.data.cifar10.load.
        name: Which.
        sha256: Their digest; None if it is not known, as of the training images of older runs.
        used_by: Whose images they have to be.

    Raises:
        ExportError: they cannot be read, or they are others.
    """
    with step(f"reading the {_SPLITS[name]} images from {data_dir or 'the Keras download'}"):
        try:
            split = load_split(data_dir, name)
        except DataError as error:
            raise ExportError(str(error)) from error
    if sha256 is not None and split.sha256() != sha256:
        msg = (
            f"these are {len(split):,} {_SPLITS[name]} images with SHA-256 {split.sha256()}, but "
            f"{used_by} used others, with {sha256}; pass the data it was trained with as "
            "--data-dir"
        )
        raise ExportError(msg)
    return split


def calibration_images(data_dir: Path | None, *, sha256: str | None, used_by: Path) -> Calibration:
    """The images to set the ranges of int8 by, out of the training images.

    Raises:
        ExportError: see `images`.
    """
    try:
        return calibration.draw(images(data_dir, "train", sha256=sha256, used_by=used_by))
    except ExportError as error:
        msg = f"{error}; {INT8} needs training images: leave it out of --precision otherwise"
        raise ExportError(msg) from error


def all_refused(rejected: Mapping[Precision, Mapping[str, Any]], way_out: str) -> str:
    """What to say when no variant that was asked for may be published."""
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


def publish(models_dir: Path, name: str, write: Callable[[Path], None]) -> Path:
    """Write the next version of a model: all of it appears, or nothing.

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
        return publishing.publish(model_dir, write)
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


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Log how long something took."""
    began = time.perf_counter()
    yield
    _log.info("%s: %.1f s", what, time.perf_counter() - began)
