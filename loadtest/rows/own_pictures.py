"""The test pictures of a data set of any classes, at the size that a model takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtest.rows.dataset import Dataset
from loadtest.settings.config import UsageError
from loadtest.transports.api import ModelInput
from training.data.cifar10 import DataError
from training.sources import decoding, opening
from training.storage import StorageError


@dataclass(frozen=True)
class OwnPictures:
    """A Source of labelled test pictures; training and export read the same ones.

    Attributes:
        data_dir: See training.sources.opening.find.
        class_names: Names of the classes, in the order of a model's outputs.
        count: Number of test pictures that can be read.
    """

    data_dir: Path
    class_names: tuple[str, ...]
    count: int

    @property
    def noun(self) -> str:
        """See Source."""
        return "test pictures"

    def __len__(self) -> int:
        return self.count

    def fit(self, inputs: Sequence[ModelInput] | None, *, model: str, batch: int) -> Dataset:
        """See Source; pictures are scaled as the server scales those of `classify`."""
        known, side = _square_input(inputs, model, batch)
        try:
            split = opening.load_split(self.data_dir, "test", side)
        except (DataError, StorageError, OSError) as error:
            raise UsageError(str(error)) from error
        return Dataset(
            inputs=(known,),
            arrays={known.name: split.images},
            rows=len(split),
            labels=split.labels,
            class_names=self.class_names,
            unit="images",
            source=self.data_dir.name,
        )


def find(data_dir: Path | None) -> OwnPictures | None:
    """Find the test pictures of a data set; None if it is CIFAR-10 or nothing that is known.

    Every picture is decoded here, because the number of those that can be read plans the load.

    Raises:
        UsageError: The data set cannot be used.
    """
    try:
        listing = opening.find(data_dir)
        if listing is None or data_dir is None:
            return None
        tested = opening.test_part(listing)
        facts = decoding.decode(tested, opening.REFERENCE_SIDE, keep=False).facts
    except (DataError, OSError) as error:
        raise UsageError(str(error)) from error
    count = int(np.count_nonzero(facts["state"] == decoding.GOOD))
    return OwnPictures(data_dir, listing.class_names, count)


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
    if len(inputs) == 1 and inputs[0].dtype == "uint8" and inputs[0].shape is not None:
        match inputs[0].shape:
            case (rows, height, width, 3) if height == width > 0:
                if rows not in (-1, batch):
                    msg = f"model {model!r} takes {rows} pictures in a request, --batch is {batch}"
                    raise UsageError(msg)
                return inputs[0], height
    found = ", ".join(f"{each.name} {each.dtype} {each.shape}" for each in inputs) or "none"
    msg = (
        f"model {model!r} has the inputs {found}, expected one of {expected}; pass --inputs with "
        "pictures of its size"
    )
    raise UsageError(msg)
