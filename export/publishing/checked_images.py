"""The training and test images of a model, identified by their SHA-256."""

from pathlib import Path

from export.errors import ExportError
from export.precisions import calibration
from export.precisions.calibration import TrainingImages
from export.precisions.make import INT8
from export.publishing.new_version import step
from training.data.cifar10 import DataError, Split, SplitName, load_split

_SPLITS: dict[SplitName, str] = {"train": "training", "test": "test"}


def read(data_dir: Path | None, name: SplitName, *, sha256: str | None, used_by: Path) -> Split:
    """Read the training or the test images of a model.

    Args:
        data_dir: See training.data.cifar10.load.
        name: "train" or "test".
        sha256: Digest of the images that the model used; None if it is not known, as in older runs
            that did not record the training images.
        used_by: The run or version that used the images, for the message.

    Raises:
        ExportError: the images cannot be read, or have another digest.
    """
    with step(f"reading the {_SPLITS[name]} images from {data_dir or 'the Keras download'}"):
        try:
            split = load_split(data_dir, name)
        except DataError as error:
            raise ExportError(str(error)) from error
    if sha256 is not None and split.sha256() != sha256:
        msg = (
            f"these are {len(split):,} {_SPLITS[name]} images with SHA-256 {split.sha256()}, but "
            f"{used_by} used others, with {sha256}; pass the data of its training as --data-dir"
        )
        raise ExportError(msg)
    return split


def draw_calibration(data_dir: Path | None, *, sha256: str | None, used_by: Path) -> TrainingImages:
    """Draw the calibration images of int8 from the training images.

    Raises:
        ExportError: see `read`.
    """
    try:
        return calibration.draw(read(data_dir, "train", sha256=sha256, used_by=used_by))
    except ExportError as error:
        msg = f"{error}; {INT8} needs training images: without them leave it out of --precision"
        raise ExportError(msg) from error
