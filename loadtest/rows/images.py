"""The test images, and the distribution of rows over requests.

A row is one image, or one row of the arrays that a model takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadtest.rows.dataset import Dataset, Integers
from loadtest.settings.config import UsageError
from loadtest.transports.api import DEFAULT_MODEL_INPUT, ModelInput, check_input
from training.data.cifar10 import (
    CLASS_NAMES,
    DATA_DIR_VARIABLE,
    DataError,
    Split,
    load_split,
    resolve_data_dir,
)


@dataclass(frozen=True)
class Queries:
    """The distinct requests of a run; every test image is in exactly one of them.

    Request number i of a run sends query i modulo len(self): a long run repeats the queries.

    Attributes:
        order: int64, shape (images,): indices of the test images in the order they are sent.
        batch: Images in a query; the last query may hold fewer.
    """

    order: npt.NDArray[np.int64]
    batch: int

    def __len__(self) -> int:
        return (len(self.order) + self.batch - 1) // self.batch

    def image_ids(self, query: int) -> npt.NDArray[np.int64]:
        """Return the indices of a query's images, in order: int64, shape (n,)."""
        return self.order[query * self.batch : (query + 1) * self.batch]

    @cached_property
    def table(self) -> npt.NDArray[np.int64]:
        """`image_ids` of every query: int64, shape (len(self), batch), read-only.

        The unused places of a short last query are -1.
        """
        table = np.full(len(self) * self.batch, -1, np.int64)
        table[: len(self.order)] = self.order
        table.flags.writeable = False
        return table.reshape(len(self), self.batch)


def shuffled(images: int, *, batch: int, seed: int) -> Queries:
    """Return queries over shuffled images; the order depends on the seed alone.

    Images are shuffled because a folder of images is sorted by class and a short run sends only
    the first few.

    Args:
        images: Number of test images.
        batch: Images in a query.
        seed: Seed of the order.
    """
    order = np.random.default_rng(seed).permutation(images).astype(np.int64)
    return Queries(order, batch)


def load_test_images(data_dir: Path | None) -> Split:
    """Return the labelled test images.

    Args:
        data_dir: CIFAR-10 in any form that training reads; None to use $CIFAR10_DIR.

    Raises:
        UsageError: Neither `data_dir` nor $CIFAR10_DIR is set, or the images cannot be read.
    """
    chosen = resolve_data_dir(data_dir)
    if chosen is None:
        # Training would download them with Keras, but loadtest must not import Keras.
        msg = (
            f"no test images: neither --data-dir nor {DATA_DIR_VARIABLE} is set, expected a folder "
            "or archive of CIFAR-10, or a folder with test/<class>/ images; without any, "
            "`run` and `find-capacity` take --synthetic (images of shapes), --random (rows for any "
            "model) or --inputs (rows of yours)"
        )
        raise UsageError(msg)
    try:
        return load_split(chosen, "test")
    except (DataError, OSError) as error:
        raise UsageError(str(error)) from error


def source_name(data_dir: Path | None) -> str | None:
    """Return the name of the folder or archive of the images, for the report; None if unset.

    Only the last part of the path is kept: reports are shared, so they omit the machine's paths.
    """
    chosen = resolve_data_dir(data_dir)
    return chosen.name if chosen is not None else None


@dataclass(frozen=True)
class LabelledImages:
    """A Source of labelled test images, CIFAR-10's by default.

    Attributes:
        split: The images and labels.
        source: Name of their folder or archive.
    """

    split: Split
    source: str | None

    @property
    def noun(self) -> str:
        """See Source."""
        return "test images"

    def __len__(self) -> int:
        return len(self.split)

    def fit(self, inputs: Sequence[ModelInput] | None, *, model: str, batch: int) -> Dataset:
        """See Source."""
        return fit_images(
            self.split.images,
            inputs,
            model=model,
            batch=batch,
            labels=self.split.labels,
            source=self.source,
        )


def fit_images(
    images: npt.NDArray[np.uint8],
    inputs: Sequence[ModelInput] | None,
    *,
    model: str,
    batch: int,
    labels: Integers | None = None,
    source: str | None,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Return images in the form of CIFAR-10's as rows for a model with a single input for images.

    Args:
        images: uint8, shape (n, 32, 32, 3), RGB.
        inputs: The inputs of the model; None if the server has no metadata.
        model: Name of the model, for messages.
        batch: Images in a request.
        labels: int64, shape (n,): index into CIFAR-10's classes; None if unknown.
        source: Name of the source in the report.
        notes: Facts that a reader of the report should know.

    Raises:
        UsageError: The model has no input or several, or images do not fit its dtype or shape.
    """
    known = DEFAULT_MODEL_INPUT
    if inputs is not None:
        known = check_input(inputs, model=model, batch=batch)
    return Dataset(
        inputs=(known,),
        arrays={known.name: images},
        rows=len(images),
        labels=labels,
        class_names=() if labels is None else CLASS_NAMES,
        unit="images",
        source=source,
        notes=notes,
    )
