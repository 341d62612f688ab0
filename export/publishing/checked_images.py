"""The training and test images of a model, identified by their SHA-256."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.publishing.new_version import step
from export.sources import held_out, training_run
from export.sources.held_out import HeldOut
from training.data.cifar10 import DataError, Split, SplitName
from training.sources import opening
from training.storage import StorageError

_SPLITS: dict[SplitName, str] = {"train": "training", "test": "test"}


def read(
    data_dir: Path | None,
    name: SplitName,
    *,
    sha256: str | None,
    used_by: Path,
    training: Mapping[str, Any],
) -> Split:
    """Read the training or the test images of a model.

    Args:
        data_dir: See training.sources.opening.find.
        name: "train" or "test".
        sha256: Digest of the images that the model used; None if it is not known, as in older runs
            that did not record the training images.
        used_by: The run or version that used the images, for the message.
        training: Content of the run's metrics.json, or section `training` of a version's: the size
            of the images, and the seed by which test pictures were drawn.

    Raises:
        ExportError: the images cannot be read, or have another digest.
    """
    with step(f"reading the {_SPLITS[name]} images from {data_dir or 'the Keras download'}"):
        try:
            split = opening.load_split(
                data_dir,
                name,
                training_run.image_size(training),
                split_seed=training_run.split_seed(training),
            )
        except (DataError, StorageError) as error:
            raise ExportError(str(error)) from error
    if sha256 is not None and split.sha256() != sha256:
        msg = (
            f"these are {len(split):,} {_SPLITS[name]} images with SHA-256 {split.sha256()}, but "
            f"{used_by} used others, with {sha256}; pass the data of its training as --data-dir"
        )
        raise ExportError(msg)
    return split


def read_held_out(
    data_dir: Path | None, training: Mapping[str, Any], *, used_by: Path
) -> HeldOut | None:
    """Read the training images that a training held out; they decide about its variants.

    Args:
        data_dir: See training.sources.opening.find.
        training: Content of the run's metrics.json, or section `training` of a version's.
        used_by: The run or version, for the message.

    Returns:
        The images; None if the training held out none.

    Raises:
        ExportError: see `read`, and export.sources.held_out.select.
    """
    if not held_out.any_image(training):
        return None
    sha256 = training["data"].get("train_sha256")
    try:
        train = read(data_dir, "train", sha256=sha256, used_by=used_by, training=training)
    except ExportError as error:
        msg = (
            f"{error}; precisions other than fp32 are judged on the training images that the "
            "training held out, and cannot be made without them"
        )
        raise ExportError(msg) from error
    return held_out.select(train, training)
