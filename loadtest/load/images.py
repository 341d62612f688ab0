"""The test images, and which of them each request holds."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadtest.settings.config import UsageError
from training.data.cifar10 import DATA_DIR_VARIABLE, DataError, Split, load_split, resolve_data_dir


@dataclass(frozen=True)
class Queries:
    """The different requests that a run is made of: every test image in exactly one of them.

    Request number i of a run sends query i modulo len(self), so a long run goes round again.

    Attributes:
        order: int64, shape (images,): the images as they are sent.
        batch: Images a query; the last one holds what is left.
    """

    order: npt.NDArray[np.int64]
    batch: int

    def __len__(self) -> int:
        return (len(self.order) + self.batch - 1) // self.batch

    def image_ids(self, query: int) -> npt.NDArray[np.int64]:
        """int64, shape (n,): the images of a query, in order."""
        return self.order[query * self.batch : (query + 1) * self.batch]

    @cached_property
    def table(self) -> npt.NDArray[np.int64]:
        """int64, shape (len(self), batch): `image_ids` of every query; -1 where the last is short.

        Read-only.
        """
        table = np.full(len(self) * self.batch, -1, np.int64)
        table[: len(self.order)] = self.order
        table.flags.writeable = False
        return table.reshape(len(self), self.batch)


def shuffled(images: int, *, batch: int, seed: int) -> Queries:
    """Queries in an order that depends on the seed alone.

    A folder of images comes sorted by class, and a run may send only the first few.

    Args:
        images: How many test images there are.
        batch: Images a query.
        seed: Decides the order.
    """
    order = np.random.default_rng(seed).permutation(images).astype(np.int64)
    return Queries(order, batch)


def load_test_images(data_dir: Path | None) -> Split:
    """The labelled test images.

    Args:
        data_dir: CIFAR-10 in any form that training reads; None for $CIFAR10_DIR.

    Raises:
        UsageError: Neither is set, or the images cannot be read.
    """
    chosen = resolve_data_dir(data_dir)
    if chosen is None:
        # Training would download them with Keras, which a load generator has no business importing.
        msg = (
            f"no test images: neither --data-dir nor {DATA_DIR_VARIABLE} is set, expected a folder "
            "or archive of CIFAR-10, or a folder with test/<class>/ images"
        )
        raise UsageError(msg)
    try:
        return load_split(chosen, "test")
    except (DataError, OSError) as error:
        raise UsageError(str(error)) from error


def source_name(data_dir: Path | None) -> str | None:
    """Where the images came from, for the report.

    Only the last part of the path is kept: a report is passed on, the machine is not.
    """
    chosen = resolve_data_dir(data_dir)
    return chosen.name if chosen is not None else None
