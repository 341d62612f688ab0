"""CIFAR-10's binary batches as lossless pictures, and back, byte for byte.

The pixels of photographs hardly shrink as bytes: xz makes 139 MB of the 184 MB. As mosaics of
50 x 50 images in lossless WebP, which predicts a pixel from its neighbours, they take 101 MB.
The labels are in an `.npy` file for each batch.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.data import cifar10

SIDE = 50  # images in a row and in a column of a mosaic; WebP allows 16,383 pixels
_PIXELS = 32
_RECORD_BYTES = 1 + 3 * _PIXELS * _PIXELS
_EFFORT = 5  # of WebP's 0 to 6: one more saves 0.3 % and takes twice the time

Images = npt.NDArray[np.uint8]
Job = TypeVar("Job")
Result = TypeVar("Result")


def pack(source: Path, target: Path, *, side: int = SIDE, effort: int = _EFFORT) -> list[Path]:
    """Write the mosaics and labels of every batch in a folder.

    Args:
        source: Folder of `.bin` files: records of a label and 3,072 bytes of pixels.
        target: Folder for the files; created if it is missing.
        side: Images in a row and in a column of a mosaic.
        effort: WebP's effort, 0 to 6.

    Returns:
        The files: those of the test batch first, because the checks need them first.

    Raises:
        DataError: there is no batch, or a file's size is no multiple of a record's.
    """
    batches = sorted(
        source.glob("*.bin"), key=lambda file: (not file.stem.startswith("test"), file)
    )
    if not batches:
        msg = f"no .bin files in {source}; expected CIFAR-10's binary batches: set CIFAR10_DIR"
        raise cifar10.DataError(msg)
    target.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    jobs: list[tuple[Images, Path, int]] = []
    for batch in batches:
        records = _records(batch)
        labels = target / f"{batch.stem}.npy"
        np.save(labels, records[:, 0])
        written.append(labels)
        for number, start in enumerate(range(0, len(records), side * side)):
            file = target / f"{batch.stem}-{number:02d}.webp"
            jobs.append((_mosaic(records[start : start + side * side, 1:], side), file, effort))
            written.append(file)
    _in_processes(_save, jobs)
    return written


def unpack(source: Path, target: Path) -> list[Path]:
    """Write the batches again of which all files have arrived, and leave out the others.

    Args:
        source: Folder that `pack` wrote, or a part of its files.
        target: Folder for the `.bin` files; created if it is missing.

    Returns:
        The `.bin` files that were written, those of earlier calls not included.
    """
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for labels in sorted(source.glob("*.npy")):
        batch = target / f"{labels.stem}.bin"
        if batch.exists():
            continue
        own = np.load(labels)
        planes = read(source, labels.stem)
        if len(planes) == len(own):
            partial = batch.with_suffix(".part")
            np.concatenate([own[:, None], planes], axis=1).tofile(partial)
            partial.replace(batch)
            written.append(batch)
    return written


def read(source: Path, batch: str) -> Images:
    """Return the images of a batch up to the first mosaic that has not arrived.

    Args:
        source: Folder with files that `pack` wrote.
        batch: Name of the batch, such as test_batch.

    Returns:
        Channel planes, uint8, shape (n, 3072); the labels are the first n in `<batch>.npy`.
    """
    found = sorted(source.glob(f"{batch}-*.webp"))
    files = [file for n, file in enumerate(found) if file.stem == f"{batch}-{n:02d}"]
    labels = source / f"{batch}.npy"
    if not files or not labels.exists():
        return np.empty((0, _RECORD_BYTES - 1), np.uint8)
    # A mosaic that is not full has black images at its end.
    return np.concatenate(_in_processes(_load, files))[: len(np.load(labels))]


def _records(batch: Path) -> Images:
    content = np.fromfile(batch, np.uint8)
    if not content.size or content.size % _RECORD_BYTES:
        msg = (
            f"{batch} has {content.size:,} bytes, expected a multiple of {_RECORD_BYTES:,}: "
            "CIFAR-10's binary batches; fetch the data set again"
        )
        raise cifar10.DataError(msg)
    return content.reshape(-1, _RECORD_BYTES)


def _mosaic(planes: Images, side: int) -> Images:
    """Arrange (n, 3072) planes as one picture, (32 side, 32 side, 3); black images fill it up."""
    filled = np.zeros((side * side, planes.shape[1]), np.uint8)
    filled[: len(planes)] = planes
    tiles = filled.reshape(side, side, 3, _PIXELS, _PIXELS).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(tiles.reshape(side * _PIXELS, side * _PIXELS, 3))


def _save(job: tuple[Images, Path, int]) -> None:
    picture, file, effort = job
    Image.fromarray(picture).save(file, "WEBP", lossless=True, quality=100, method=effort)


def _load(file: Path) -> Images:
    """Return the images of a mosaic as planes, uint8 (side * side, 3072)."""
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    side = len(pixels) // _PIXELS
    tiles = pixels.reshape(side, _PIXELS, side, _PIXELS, 3).transpose(0, 2, 4, 1, 3)
    return tiles.reshape(side * side, 3 * _PIXELS * _PIXELS)


def _in_processes(work: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
    # Processes that are forked from one with threads may hang.
    with ProcessPoolExecutor(min(len(jobs), os.cpu_count() or 1), get_context("spawn")) as pool:
        return list(pool.map(work, jobs))
