"""Labelled images in a file of decoded pictures, for data that are larger than the memory."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.data_set import Rows
from training.sources.decoding import PixelFile

_HASHED_AT_ONCE = 1_024


@dataclass(frozen=True)
class StoredRows:
    """Rows of a file of pixels; see training.data.data_set.ImageRows.

    Attributes:
        pixels: The file.
        positions: int64, shape (n,): the place of each image in the file.
        labels: int64, shape (n,): index of each image's class.
    """

    pixels: PixelFile
    positions: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    @property
    def side(self) -> int:
        """See ImageRows."""
        return self.pixels.side

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """See ImageRows."""
        return self.pixels.take(self.positions[rows])

    def subset(self, rows: Rows) -> "StoredRows":
        """See ImageRows."""
        return StoredRows(self.pixels, self.positions[rows], self.labels[rows])

    def sha256(self) -> str:
        """See ImageRows."""
        digest = hashlib.sha256()
        for start in range(0, len(self), _HASHED_AT_ONCE):
            digest.update(self.take(slice(start, start + _HASHED_AT_ONCE)).data)
        digest.update(np.ascontiguousarray(self.labels.astype("<i8")).data)
        return digest.hexdigest()
