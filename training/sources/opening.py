"""Opens a data set: CIFAR-10 by training.data, or pictures of any classes."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from training.data import cifar10
from training.data.cifar10 import DataError, Split, SplitName
from training.data.data_set import DataSet, ImageRows
from training.sources import arrow_datasets, decoding, folders, summary, tables
from training.sources.decoding import GOOD, PixelFile
from training.sources.listing import Listing, Part, check_trainable
from training.sources.stored_rows import StoredRows

# Height and width of pictures for a model unless they are named: a photograph is recognisable, and
# a processor trains hundreds of them a second. CIFAR-10's images have 32.
DEFAULT_SIDE = 96
REFERENCE_SIDE = 32
_log = logging.getLogger(__name__)


def find(data_dir: Path | None, *, split_seed: int = 0) -> Listing | None:
    """List the pictures of a data set without decoding them; needs no TensorFlow.

    Args:
        data_dir: A folder of pictures (see folders.find), a table or a folder with one (see
            tables.find), a data set of Hugging Face (see arrow_datasets.find), or CIFAR-10 in any
            form that training.data.cifar10.load reads.
        split_seed: Seed of the test pictures that are drawn if the data name none.

    Returns:
        The pictures, perhaps test pictures alone, see listing.check_trainable; None if it is
        CIFAR-10, or nothing that is known.

    Raises:
        DataError: The data cannot be used; the message says why.
    """
    if data_dir is None:
        return None
    if data_dir.is_file():
        is_table = data_dir.suffix.lower() in tables.ENDINGS
        return tables.find(data_dir, split_seed) if is_table else None
    if not data_dir.is_dir():
        return None
    stored = arrow_datasets.find(data_dir, split_seed)
    if stored is not None:
        return stored
    table = tables.beside(data_dir)
    if table is not None:
        return tables.find(table, split_seed)
    return None if folders.is_reference(data_dir) else folders.find(data_dir, split_seed)


def load(
    data_dir: Path | None,
    side: int | None = None,
    *,
    split_seed: int = 0,
    refuse_broken: bool = False,
) -> DataSet:
    """Read a whole data set.

    Args:
        data_dir: See `find`; None downloads CIFAR-10.
        side: Height and width in pixels to which pictures are scaled; None for DEFAULT_SIDE.
            CIFAR-10's are never scaled.
        split_seed: See `find`.
        refuse_broken: Whether a file that is no picture is an error. Otherwise it is left out.

    Raises:
        DataError: The data are missing or damaged, have no training pictures, or `side` is not that
            of CIFAR-10.
        StorageError: The cache of decoded pictures cannot be written.
    """
    listing = find(data_dir, split_seed=split_seed)
    if listing is None:
        check_reference_side(side)
        return cifar10.load(data_dir)
    check_trainable(listing, data_dir)
    decoded = decoding.decode(listing, side or DEFAULT_SIDE)
    facts = summary.summarise(listing, decoded)
    broken = facts["broken_files"]
    if broken and refuse_broken:
        msg = (
            f"{facts['broken']:,} of {facts['pictures']:,} files are no pictures, the first one is "
            f"{broken[0]['name']} ({broken[0]['reason']}); replace or remove them"
        )
        raise DataError(msg)
    _warn(facts)
    parts = {part: rows_of(listing, decoded, part) for part in ("train", "validation", "test")}
    train, validation, test = parts["train"], parts["validation"], parts["test"]
    _check_classes(listing, train, test)
    return DataSet(
        train=_joined(listing, decoded) if len(validation) else train,
        test=test,
        variant=listing.variant,
        sha256=test.sha256(),
        class_names=listing.class_names,
        validation_images=len(validation),
        facts=summary.for_card(facts),
    )


def load_split(
    data_dir: Path | None, name: SplitName, side: int | None = None, *, split_seed: int = 0
) -> Split:
    """Read the training or the test images into memory; see `load`."""
    listing = find(data_dir, split_seed=split_seed)
    if listing is None:
        check_reference_side(side)
        return cifar10.load_split(data_dir, name)
    if name == "test":
        listing = test_part(listing)  # the training pictures need not be decoded
    else:
        check_trainable(listing, data_dir)
    decoded = decoding.decode(listing, side or DEFAULT_SIDE)
    rows = rows_of(listing, decoded, "test") if name == "test" else _joined(listing, decoded)
    if not len(rows):
        msg = f"{data_dir}: none of its {name} pictures can be read"
        raise DataError(msg)
    return in_memory(rows)


def test_part(listing: Listing) -> Listing:
    """Return the test pictures of a listing."""
    return replace(listing, pictures=tuple(row for row in listing.pictures if row.part == "test"))


def in_memory(rows: ImageRows) -> Split:
    """Return images in memory."""
    if isinstance(rows, Split):
        return rows
    return Split(images=rows.take(slice(None)), labels=rows.labels)


def check_reference_side(side: int | None) -> None:
    """Refuse to scale CIFAR-10.

    Raises:
        DataError: `side` is not 32.
    """
    if side not in (None, REFERENCE_SIDE):
        msg = (
            f"image size {side} received with images of 32x32 pixels; leave --image-size out, and "
            "enlarge them in resnet50 with --upsample"
        )
        raise DataError(msg)


def rows_of(listing: Listing, decoded: decoding.Decoded, *parts: Part) -> ImageRows:
    """Return the good pictures of parts, in the order of the listing."""
    chosen = np.array([row.part in parts for row in listing.pictures], bool)
    positions = np.flatnonzero(chosen & (decoded.facts["state"] == GOOD))
    labels = np.array([row.label for row in listing.pictures], np.int64)[positions]
    if isinstance(decoded.pixels, PixelFile):
        return StoredRows(decoded.pixels, positions, labels)
    if decoded.pixels is None:
        raise AssertionError(decoded.pixels)
    return Split(images=decoded.pixels[positions], labels=labels)


def _joined(listing: Listing, decoded: decoding.Decoded) -> ImageRows:
    """Return training and validation pictures: those for validation are the last."""
    return rows_of(listing, decoded, "train", "validation")


def _check_classes(listing: Listing, train: ImageRows, test: ImageRows) -> None:
    missing = set(range(len(listing.class_names))) - set(train.labels.tolist())
    if missing:
        name = listing.class_names[min(missing)]
        msg = f"class {name!r} has no training picture that can be read; add some, or remove it"
        raise DataError(msg)
    if not len(test):
        msg = "none of the test pictures can be read; replace them"
        raise DataError(msg)


def _warn(facts: dict[str, object]) -> None:
    told = {
        "broken": "files left out, because they are no readable pictures: %s",
        "repeated_pictures": "files in several parts, which make the test accuracy too high: %s",
        "conflicting_pictures": "equal files in several classes: %s",
    }
    for name, text in told.items():
        if facts[name]:
            _log.warning(f"{text}; `python -m training inspect` names them", facts[name])
