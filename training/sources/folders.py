"""Folders of pictures: train/<class>/, val/<class>/ and test/<class>/, or <class>/ alone.

A load test also takes test/<class>/ alone. An empty class folder then names a class of the model of
which there are no test pictures.
"""

from collections.abc import Iterable
from pathlib import Path

from training.data.cifar10 import CLASS_NAMES, DataError
from training.sources.listing import PART_NAMES, Labelled, Listing, Part, PictureFile, listed
from training.sources.pixels import ENDINGS

VARIANT = "picture-folder"
# The folders of CIFAR-10 as files, as training.data reads it.
PART_FOLDERS = ("train", "test")


def find(folder: Path, split_seed: int = 0) -> Listing | None:
    """List the pictures of a folder; None if it has no class folder with pictures.

    The class folders may have folders themselves. Hidden files and folders are ignored. For
    `split_seed` see listing.listed.

    Raises:
        DataError: Pictures of a class for testing or validation have no training pictures, or a
            part is there twice under two names.
    """
    parts = part_folders(folder)
    roots: dict[Part, Path] = parts or {"train": folder}
    found = {
        part: {each.name: pictures(each) for each in _folders(root)} for part, root in roots.items()
    }
    tested_alone = set(parts) == {"test"}
    names = sorted(
        {
            name
            for classes in found.values()
            for name, files in classes.items()
            if files or tested_alone
        }
    )
    if not any(files for classes in found.values() for files in classes.values()):
        return None
    labels = {name: label for label, name in enumerate(names)}
    rows = [
        Labelled(PictureFile(file, file.relative_to(folder).as_posix()), labels[name], part)
        for part, classes in found.items()
        for name, files in classes.items()
        for file in files
    ]
    return listed(VARIANT, names, rows, origin=folder, split_seed=split_seed)


def part_folders(folder: Path) -> dict[Part, Path]:
    """Return the folders of the parts; empty if the folder is not divided into parts.

    It is if it has a folder for training, or one for testing and nothing else.

    Raises:
        DataError: A part has two folders.
    """
    parts: dict[Part, Path] = {}
    inside = _folders(folder)
    for each in inside:
        part = PART_NAMES.get(each.name.lower())
        if part is None:
            continue
        if part in parts:
            msg = (
                f"{folder} has {parts[part].name} and {each.name}, expected one folder with "
                f"{part} pictures; rename or remove one of them"
            )
            raise DataError(msg)
        parts[part] = each
    tested_alone = set(parts) == {"test"} and len(inside) == 1 and bool(_folders(parts["test"]))
    return parts if "train" in parts or tested_alone else {}


def is_reference(folder: Path) -> bool:
    """Return whether a folder is CIFAR-10 as files, which training.data reads.

    Its class folders have the names of all ten classes, or of some if it has test pictures alone,
    and its first picture is one of 32x32. Training pictures of some of these classes, such as cats
    and dogs, are a data set of their own.
    """
    parts = {each.name: _folders(each) for each in _folders(folder) if each.name in PART_FOLDERS}
    classes = {each.name: each for found in parts.values() for each in found}
    complete = set(classes) == set(CLASS_NAMES)
    if not complete and (parts.get("train") or not classes or not set(classes) <= set(CLASS_NAMES)):
        return False
    first = next((file for each in classes.values() for file in pictures(each)), None)
    return first is None or _size(first) in (None, (32, 32))


def _size(file: Path) -> tuple[int, int] | None:
    """Return the size of a picture; None if it cannot be read, which training.data will say."""
    from PIL import Image  # noqa: PLC0415  see the folder's docstring

    try:
        with Image.open(file) as image:
            return image.size
    except (OSError, SyntaxError, ValueError):
        return None


def _folders(folder: Path) -> list[Path]:
    return sorted(
        each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")
    )


def pictures(folder: Path) -> list[Path]:
    """Return the picture files of a folder, at any depth, without hidden ones."""
    return sorted(_visible(folder, folder.rglob("*")))


def _visible(folder: Path, files: Iterable[Path]) -> list[Path]:
    return [
        file
        for file in files
        if file.suffix.lower() in ENDINGS
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    ]
