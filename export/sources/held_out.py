"""The training images that a training held out: they decide about its variants.

The test images decide nothing; the accuracy that they measure is then that of a model which was not
chosen by them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from export.errors import ExportError
from training.batches import validation_split
from training.data.cifar10 import Split
from training.settings import recipes


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The images that a training held out of its training images.

    Attributes:
        split: The n images, in the order of the training images.
        positions: Their positions among the training images, ascending, int64, shape (n,).
        training: All training images.
        validation: Setting of the training that selected them: "stratified", "tail" or "folder".
        seed: Seed of the training.
    """

    split: Split
    positions: npt.NDArray[np.int64]
    training: Split
    validation: str
    seed: int

    @property
    def classes(self) -> int:
        """Number of classes of the training images."""
        return int(self.training.labels.max()) + 1

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values for metrics.json, from which the images can be selected again."""
        return {
            "images": len(self.split),
            "drawn_from": f"{len(self.training):,} training images",
            "validation": self.validation,
            "seed": self.seed,
            "sha256": self.split.sha256(),
        }


def any_image(training: Mapping[str, Any]) -> bool:
    """Return whether a training held out images; with validation "test" it did not.

    Args:
        training: Content of the run's metrics.json, or section `training` of a version's.

    Raises:
        ExportError: the settings of the training are not recorded.
    """
    return bool(_settings(training)["validation"] != "test")


def select(train: Split, training: Mapping[str, Any]) -> HeldOut:
    """Select the images that a training held out.

    Args:
        train: The training images of that training.
        training: Content of the run's metrics.json, or section `training` of a version's.

    Raises:
        ExportError: the training held out no image, or its settings are not recorded.
    """
    settings = _settings(training)
    held = validation_split.held_out(
        train.labels,
        validation=settings["validation"],
        fraction=settings["validation_fraction"],
        seed=settings["seed"],
        given=(training.get("data") or {}).get("validation_folder_images", 0),
    )
    positions = np.flatnonzero(held)
    if not len(positions):
        msg = (
            f"the training held out none of its {len(train):,} training images (validation "
            f"{settings['validation']}), so there are none to judge its variants on; train it "
            "with --validation stratified"
        )
        raise ExportError(msg)
    return HeldOut(
        split=Split(images=train.images[positions], labels=train.labels[positions]),
        positions=positions,
        training=train,
        validation=settings["validation"],
        seed=settings["seed"],
    )


def _settings(training: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a training; those that are newer than the training have their defaults."""
    if not training.get("config"):
        msg = (
            "metrics.json does not record the settings of the training (section config), so the "
            "images that it held out are not known; train again, and export that run"
        )
        raise ExportError(msg)
    return recipes.defaults() | dict(training["config"])
