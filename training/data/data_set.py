"""A data set of labelled images in three parts, and the rows of images that it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Rows = slice | npt.NDArray[np.int64]


class ImageRows(Protocol):
    """Images of one size with their labels, in memory or in a file."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Index of each image's class: int64, shape (n,)."""

    @property
    def side(self) -> int:
        """Height and width of the images in pixels."""

    def __len__(self) -> int: ...

    def take(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Return the images of some rows: uint8, shape (rows, side, side, 3), RGB, 0 to 255."""

    def subset(self, rows: Rows) -> "ImageRows":
        """Return some rows, in the given order."""

    def sha256(self) -> str:
        """Return the SHA-256 of the pixels, then the labels as little-endian int64."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A whole data set.

    Attributes:
        train: Training images. Images that a folder or table gives for validation are its last.
        test: Test images.
        variant: Layout the data was read from: "cifar-10-binary", "cifar-10-python", "image-folder"
            and "keras-download" for CIFAR-10, "picture-folder", "picture-table" and
            "picture-datasets" for pictures of any classes. Results name it, because images
            recompressed as JPEG lower the accuracy.
        sha256: Digest of the test images, see ImageRows.sha256.
        class_names: Names of the classes, in the order of the labels.
        validation_images: Number of the last training images that are given for validation; 0 if
            validation images are to be drawn.
        facts: What a model card says of the data: numbers, sizes, broken and repeated files. Empty
            for CIFAR-10.
    """

    train: ImageRows
    test: ImageRows
    variant: str
    sha256: str
    class_names: tuple[str, ...]
    validation_images: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
