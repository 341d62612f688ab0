"""The test pictures of a data set of any classes, at the size that a model takes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loadtest.rows.dataset import Dataset
from loadtest.settings.config import UsageError
from loadtest.transports.api import ModelInput
from training.data.cifar10 import DataError, resolve_data_dir
from training.sources import decoding, opening
from training.sources.listing import Listing, check_split_seed
from training.storage import StorageError


@dataclass
class OwnPictures:
    """A Source of labelled test pictures; training and export read the same ones.

    They are decoded when they are first needed, and again only for a model of another size: the
    number of those that can be read is known by then at the latest.

    Attributes:
        data_dir: See training.sources.opening.find.
        listing: The test pictures, with the names of the classes in the order of a model's outputs.
    """

    data_dir: Path
    listing: Listing
    _count: int | None = field(default=None, init=False)
    _decoded: tuple[int, decoding.Decoded] | None = field(default=None, init=False)

    @property
    def noun(self) -> str:
        """See Source."""
        return "test pictures"

    def __len__(self) -> int:
        if self._count is None:
            self._decode(opening.REFERENCE_SIDE, keep=False)
        return self._count or 0

    def decode_for(self, inputs: Sequence[ModelInput] | None) -> None:
        """Decode the pictures for a model with these inputs, if it takes pictures.

        Call this before the first `len`, which else decodes them to count them.

        Raises:
            UsageError: The pictures cannot be decoded here.
        """
        side = _side(inputs)
        if side is not None:
            self._at(side)

    def fit(self, inputs: Sequence[ModelInput] | None, *, model: str, batch: int) -> Dataset:
        """See Source; pictures are scaled as the server scales those of `classify`."""
        known, side = _square_input(inputs, model, batch)
        rows = opening.rows_of(self.listing, self._at(side), "test")
        if not len(rows):
            msg = f"{self.data_dir}: none of its test pictures can be read"
            raise UsageError(msg)
        split = opening.in_memory(rows)
        return Dataset(
            inputs=(known,),
            arrays={known.name: split.images},
            rows=len(split),
            labels=split.labels,
            class_names=self.listing.class_names,
            unit="images",
            source=self.data_dir.name,
        )

    def _at(self, side: int) -> decoding.Decoded:
        if self._decoded is None or self._decoded[0] != side:
            self._decoded = (side, self._decode(side, keep=True))
        return self._decoded[1]

    def _decode(self, side: int, *, keep: bool) -> decoding.Decoded:
        try:
            decoded = decoding.decode(self.listing, side, keep=keep)
        except (DataError, StorageError, OSError) as error:
            raise UsageError(str(error)) from error
        self._count = int(np.count_nonzero(decoded.facts["state"] == decoding.GOOD))
        return decoded


def find(data_dir: Path | None, split_seed: int | None = None) -> OwnPictures | None:
    """Find the test pictures of a data set; None if it is CIFAR-10 or nothing that is known.

    Args:
        data_dir: See training.sources.opening.find.
        split_seed: See training.sources.opening.find; None for 0.

    Raises:
        UsageError: The data set cannot be used.
    """
    try:
        listing = opening.find(data_dir, split_seed=split_seed or 0)
    except (DataError, OSError) as error:
        raise UsageError(str(error)) from error
    if listing is None or data_dir is None:
        return None
    return OwnPictures(data_dir, opening.test_part(listing))


def check_seed(data_dir: Path | None, split_seed: int) -> None:
    """Refuse a seed that the user gave for data whose test pictures are not drawn.

    Args:
        data_dir: See open_test_images in loadtest.rows.sources.
        split_seed: The seed; 0 is the one of data without a seed, and is never refused.

    Raises:
        UsageError: The data name their test pictures, or cannot be used.
    """
    if not split_seed:
        return
    try:
        listing = opening.find(resolve_data_dir(data_dir), split_seed=split_seed)
        check_split_seed(listing, split_seed)
    except (DataError, OSError) as error:
        raise UsageError(str(error)) from error


def _side(inputs: Sequence[ModelInput] | None) -> int | None:
    """Return the height and width of the pictures that a model takes; None if it takes none."""
    if inputs is not None and len(inputs) == 1 and inputs[0].dtype == "uint8":
        match inputs[0].shape:
            case (_, height, width, 3) if height == width > 0:
                return height
    return None


def _square_input(
    inputs: Sequence[ModelInput] | None, model: str, batch: int
) -> tuple[ModelInput, int]:
    """Return the only input of a model, and the height and width of its pictures.

    Raises:
        UsageError: The model takes other rows, or fewer in a request, or the server has no
            metadata.
    """
    expected = "uint8 of (batch, side, side, 3), as `python -m training` makes it"
    if inputs is None:
        msg = f"the server does not tell the inputs of {model!r}, expected one of {expected}"
        raise UsageError(msg)
    side = _side(inputs)
    if side is None:
        found = ", ".join(f"{each.name} {each.dtype} {each.shape}" for each in inputs) or "none"
        msg = (
            f"model {model!r} has the inputs {found}, expected one of {expected}; pass --inputs "
            "with pictures of its size"
        )
        raise UsageError(msg)
    rows = (inputs[0].shape or (-1,))[0]
    if rows not in (-1, batch):
        msg = f"model {model!r} takes {rows} pictures in a request, --batch is {batch}"
        raise UsageError(msg)
    return inputs[0], side
