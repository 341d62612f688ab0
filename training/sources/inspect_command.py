"""The command `python -m training inspect DIR`: what a data set holds, before it is trained on."""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from training import storage
from training.data.cifar10 import DataError
from training.sources import contact_sheet, decoding, opening, summary
from training.sources.listing import Listing, check_split_seed, check_trainable

_DEFAULT_OUTPUT = Path("results/inspection")
_SIDE = 64
_SHOWN = 10
# A class this many times as large as another one draws a model's answers to itself.
_IMBALANCE = 10


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m training inspect",
        description="Read every picture of a data set, and print classes, numbers, sizes, broken "
        "files and pictures that are in several parts. Writes inspection.json with all of it and "
        "contact_sheet.jpg with pictures of every class. Nothing is trained.",
    )
    parser.add_argument(
        "data",
        type=Path,
        metavar="DIR|FILE",
        help="folder with train/CLASS/, val/CLASS/ and test/CLASS/, or with CLASS/ alone; table "
        "with columns path, label and optionally split (CSV, TSV, JSON lines, Parquet); or data "
        "set that Hugging Face's datasets saved to a disk",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_DEFAULT_OUTPUT,
        metavar="DIR",
        help=f"folder of the two files; default: {_DEFAULT_OUTPUT}",
    )
    parser.add_argument(
        "--refuse-broken",
        action="store_true",
        help="exit with code 2 if a file is no readable picture",
    )
    parser.add_argument(
        "--split-seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the test pictures that are drawn if the data name none (default 0); pass it "
        "to the training, too",
    )
    return parser


def run(data: Path, output: Path, *, refuse_broken: bool, split_seed: int = 0) -> str:
    """Inspect a data set and write the two files.

    Returns:
        What to print.

    Raises:
        DataError: The data cannot be trained on, are CIFAR-10 in a form that is no pictures, or a
            file is broken and `refuse_broken` is set.
        StorageError: A file cannot be written.
    """
    if not data.exists():
        msg = f"{data} does not exist; expected a folder of pictures or a table"
        raise DataError(msg)
    listing = opening.find(data, split_seed=split_seed)
    if listing is None:
        msg = (
            f"{data} has no class folders with pictures, no table and no data set of Hugging Face; "
            "expected for example train/cat/1.jpg and train/dog/1.jpg, or labels.csv with the "
            "columns path and label (CIFAR-10 needs no inspection)"
        )
        raise DataError(msg)
    check_trainable(listing, data)
    check_split_seed(listing, split_seed)
    storage.make_folder(output)
    decoded = decoding.decode(listing, _SIDE, keep=False)
    found = summary.summarise(listing, decoded)
    text = json.dumps(found, ensure_ascii=False, indent=2) + "\n"
    # A file's name need not be valid text.
    storage.write(output / "inspection.json", text.encode(errors="backslashreplace"))
    contact_sheet.write(output / "contact_sheet.jpg", listing, decoded)
    told = "\n".join(
        [*_lines(listing, found), f"wrote {output}/inspection.json and contact_sheet.jpg"]
    )
    if refuse_broken and found["broken"]:
        msg = (
            f"files that are no readable pictures: {found['broken']:,}, the first one is "
            f"{found['broken_files'][0]['name']}; {output}/inspection.json names them: replace or "
            "remove them"
        )
        raise DataError(msg)
    return told


def _lines(listing: Listing, found: Mapping[str, Any]) -> Iterator[str]:
    parts = {part: sum(counts.values()) for part, counts in found["per_class"].items()}
    numbers = ", ".join(f"{count:,} {part}" for part, count in parts.items())
    drawn = ""
    if found["drawn_test"]:
        drawn = f" (test pictures drawn: a fifth of each class, seed {found['split_seed']})"
    yield f"{found['pictures']:,} files, {found['classes']} classes: {numbers}{drawn}"
    width = max(map(len, listing.class_names))
    for name in listing.class_names:
        counts = "  ".join(
            f"{part} {counts[name]:>7,}" for part, counts in found["per_class"].items()
        )
        yield f"  {name:<{width}}  {counts}"
    if found["sizes"]:
        wide, high = found["sizes"]["width"], found["sizes"]["height"]
        yield (
            f"sizes: {wide[0]:.0f} to {wide[2]:.0f} pixels wide (median {wide[1]:.0f}), "
            f"{high[0]:.0f} to {high[2]:.0f} high (median {high[1]:.0f})"
        )
        formats = ", ".join(f"{count:,} {name}" for name, count in found["formats"].items())
        yield f"formats: {formats}; {found['turned']:,} turned by EXIF data"
    if found["imbalance"] >= _IMBALANCE:
        yield (
            f"imbalance: the largest class has {found['imbalance']:g} times the training pictures "
            "of the smallest; look at the balanced accuracy"
        )
    yield from _listed("broken files, left out", found["broken"], found["broken_files"])
    yield from _listed(
        "equal files in several parts", found["repeated_pictures"], found["repeated"]
    )
    yield from _listed(
        "pairs that look alike in several parts", found["alike_pairs"], found["alike"]
    )
    yield from _listed(
        "equal files in several classes", found["conflicting_pictures"], found["conflicting"]
    )


def _listed(what: str, count: int, entries: list[Any]) -> Iterator[str]:
    yield f"{what}: {count:,}"
    for entry in entries[:_SHOWN]:
        if isinstance(entry, dict):
            yield f"  {entry['name']}: {entry['reason']}"
        else:
            yield f"  {' = '.join(entry)}"
    if len(entries) > _SHOWN:
        yield f"  ... and {len(entries) - _SHOWN:,} more"
