"""Reads CIFAR-10 from binary or Python batches, archives of them, image folders or a download.

Needs only NumPy, so that load tests and exports can read the test images without the training
packages. Pillow (image folders) and Keras (the download) are imported when they are needed.

The official layouts are described on the data set's page (A. Krizhevsky, "Learning Multiple Layers
of Features from Tiny Images", 2009): six batches of 10,000 images, each image 3,072 bytes, the red
plane first, then green, then blue, row by row.
"""

import hashlib
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from training.data import image_folder, python_batch
from training.data.data_set import DataSet, Rows

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
DATA_DIR_VARIABLE = "CIFAR10_DIR"

SplitName = Literal["train", "test"]

_BATCHES: dict[SplitName, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}
_BATCH_IMAGES = 10_000
_IMAGE_BYTES = 3_072
_BINARY_BATCH_BYTES = _BATCH_IMAGES * (1 + _IMAGE_BYTES)
# Larger members of an archive are not read; a Python batch has at most 31,035,704 bytes.
_MEMBER_LIMIT_BYTES = 64 * 2**20
_SUBFOLDERS = ("", "cifar-10-batches-bin", "cifar-10-batches-py")
_ARCHIVE_ENDINGS = (".tar", ".tar.gz", ".tar.xz", ".tgz")
_WAY_OUT = (
    "fetch cifar-10-binary.tar.gz again from the data set's page and pass it, or the folder it "
    f"unpacks to, as --data-dir (or in {DATA_DIR_VARIABLE})"
)


class DataError(ValueError):
    """The data set is missing, incomplete or damaged."""


@dataclass(frozen=True)
class Split:
    """Images in memory with their labels.

    Attributes:
        images: uint8, shape (n, side, side, 3), RGB, 0 to 255; CIFAR-10's have 32 pixels a side.
        labels: int64, shape (n,): index of each image's class.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def side(self) -> int:
        """See ImageRows."""
        return int(self.images.shape[1])

    def take(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """See ImageRows."""
        return np.asarray(self.images[rows])

    def subset(self, rows: Rows) -> "Split":
        """See ImageRows."""
        return Split(images=self.images[rows], labels=self.labels[rows])

    def sha256(self) -> str:
        """Return the SHA-256 of the pixels, then the labels as little-endian int64.

        It is the same for every layout that the split was read from.
        """
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels.astype("<i8")).data)
        return digest.hexdigest()


def resolve_data_dir(flag: str | Path | None) -> Path | None:
    """Return the data folder or archive: the flag, else $CIFAR10_DIR, else None (download)."""
    chosen = str(flag) if flag is not None else os.environ.get(DATA_DIR_VARIABLE, "")
    return Path(chosen).expanduser() if chosen else None


def load(data_dir: Path | None) -> DataSet:
    """Read both splits.

    Args:
        data_dir: A folder of binary or Python batches (or the folder above it), an archive of
            either (or the folder that holds it), or a folder with train/<class>/ and test/<class>/
            images. None downloads the Python archive with Keras.

    Returns:
        The data set. Nothing is written to disk unless Keras downloads it.

    Raises:
        DataError: A file is missing, truncated or not CIFAR-10; the message names the file and the
            way out.
    """
    variant, (train, test) = _read(data_dir, ("train", "test"))
    return DataSet(
        train=train, test=test, variant=variant, sha256=test.sha256(), class_names=CLASS_NAMES
    )


def load_split(data_dir: Path | None, name: SplitName) -> Split:
    """Read one split and only the files it needs; see `load` for `data_dir` and errors."""
    return _read(data_dir, (name,))[1][0]


def _read(data_dir: Path | None, names: tuple[SplitName, ...]) -> tuple[str, list[Split]]:
    if data_dir is None:
        return "keras-download", _download(names)
    if data_dir.is_dir():
        if any((data_dir / name).is_dir() for name in _BATCHES):
            return "image-folder", [_read_image_folder(data_dir / name) for name in names]
        for subfolder in _SUBFOLDERS:
            for layout in _LAYOUTS:
                if layout.is_in(data_dir / subfolder):
                    return layout.variant, _read_batch_folder(data_dir / subfolder, layout, names)
        return _read_archive(_only_archive(data_dir), names)
    if data_dir.is_file():
        return _read_archive(data_dir, names)
    msg = f"data folder {data_dir} does not exist; expected pictures or CIFAR-10 there: {_WAY_OUT}"
    raise DataError(msg)


def _download(names: Iterable[SplitName]) -> list[Split]:
    try:
        import keras  # noqa: PLC0415  readers of local files need no Keras
    except ImportError:
        msg = f"no data folder given, and Keras, which would download it, is missing: {_WAY_OUT}"
        raise DataError(msg) from None
    try:
        train, test = keras.datasets.cifar10.load_data()
    except Exception as error:  # Keras wraps network errors in a bare Exception
        msg = f"the download of CIFAR-10 failed ({error}): {_WAY_OUT}"
        raise DataError(msg) from error
    arrays = {"train": train, "test": test}
    return [
        Split(images=arrays[name][0], labels=arrays[name][1].ravel().astype(np.int64))
        for name in names
    ]


# Official batches: a layout has the names of its files and a function that parses one file.


@dataclass(frozen=True)
class _Layout:
    variant: str
    ending: str
    parse: Callable[[bytes, str], Split]

    def files(self, names: Iterable[SplitName]) -> list[str]:
        return [batch + self.ending for name in names for batch in _BATCHES[name]]

    def is_in(self, folder: Path) -> bool:
        return any((folder / file).is_file() for file in self.files(_BATCHES))


def _parse_binary(content: bytes, where: str) -> Split:
    if len(content) != _BINARY_BATCH_BYTES:
        msg = (
            f"{where} is {len(content):,} bytes, expected {_BINARY_BATCH_BYTES:,} "
            f"(10,000 records of 3,073): {_WAY_OUT}"
        )
        raise DataError(msg)
    records = np.frombuffer(content, np.uint8).reshape(_BATCH_IMAGES, 1 + _IMAGE_BYTES)
    return _from_planes(records[:, 1:], records[:, 0].astype(np.int64), where)


def _parse_python(content: bytes, where: str) -> Split:
    try:
        planes, labels = python_batch.parse(content)
    except ValueError as error:
        msg = (
            f"{where} ({len(content):,} bytes) is no CIFAR-10 Python batch of about 31,035,000 "
            f"bytes: {error}; {_WAY_OUT}"
        )
        raise DataError(msg) from error
    return _from_planes(planes, labels, where)


_LAYOUTS = (
    _Layout("cifar-10-binary", ".bin", _parse_binary),
    _Layout("cifar-10-python", "", _parse_python),
)


def _from_planes(planes: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], where: str) -> Split:
    """Turn (n, 3072) channel planes into (n, 32, 32, 3) pixels and check the labels."""
    wrong = np.flatnonzero((labels < 0) | (labels > 9))
    if wrong.size:
        msg = (
            f"{where}: record {wrong[0]} has label {labels[wrong[0]]}, expected 0 to 9: {_WAY_OUT}"
        )
        raise DataError(msg)
    pixels = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Split(images=np.ascontiguousarray(pixels), labels=labels)


def _read_batch_folder(folder: Path, layout: _Layout, names: tuple[SplitName, ...]) -> list[Split]:
    files = layout.files(names)
    _refuse_missing([file for file in files if not (folder / file).is_file()], folder)
    contents = {file: (folder / file).read_bytes() for file in files}
    return _parse_all(contents, layout, names, folder)


def _read_archive(archive: Path, names: tuple[SplitName, ...]) -> tuple[str, list[Split]]:
    """Read the batches of a tar archive in one pass, in memory; no file is written to disk."""
    wanted = {file: layout for layout in _LAYOUTS for file in layout.files(names)}
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = member.name.rpartition("/")[2]
                if file in wanted and member.isfile() and member.size <= _MEMBER_LIMIT_BYTES:
                    contents[file] = tar.extractfile(member).read()  # type: ignore[union-attr]  # a regular file
                if any(contents.keys() >= set(layout.files(names)) for layout in _LAYOUTS):
                    break
    except (EOFError, OSError, lzma.LZMAError, tarfile.TarError, zlib.error) as error:
        msg = (
            f"{archive} ({archive.stat().st_size:,} bytes) is no complete tar archive "
            f"(cifar-10-binary.tar.gz is 170,052,171 bytes) ({type(error).__name__}: {error}): "
            f"{_WAY_OUT}"
        )
        raise DataError(msg) from error
    layout = next((wanted[file] for file in contents), _LAYOUTS[0])
    _refuse_missing([file for file in layout.files(names) if file not in contents], archive)
    return layout.variant, _parse_all(contents, layout, names, archive)


def _parse_all(
    contents: dict[str, bytes], layout: _Layout, names: tuple[SplitName, ...], origin: Path
) -> list[Split]:
    splits = []
    for name in names:
        parts = [layout.parse(contents[file], str(origin / file)) for file in layout.files((name,))]
        splits.append(
            Split(
                images=np.concatenate([part.images for part in parts]),
                labels=np.concatenate([part.labels for part in parts]),
            )
        )
    return splits


def _refuse_missing(files: list[str], origin: Path) -> None:
    if files:
        msg = f"{origin} lacks {', '.join(files)}: {_WAY_OUT}"
        raise DataError(msg)


def _only_archive(folder: Path) -> Path:
    archives = sorted(path for path in folder.iterdir() if path.name.endswith(_ARCHIVE_ENDINGS))
    if len(archives) == 1:
        return archives[0]
    if archives:
        found = ", ".join(path.name for path in archives)
        msg = f"{folder} holds several archives ({found}); pass one of them as --data-dir"
    else:
        msg = (
            f"{folder} holds no CIFAR-10: expected data_batch_1.bin or data_batch_1, one "
            f"{'/'.join(_ARCHIVE_ENDINGS)} archive, or train/ and test/ folders: {_WAY_OUT}"
        )
    raise DataError(msg)


def _read_image_folder(folder: Path) -> Split:
    try:
        images, labels = image_folder.read(folder, CLASS_NAMES)
    except ValueError as error:
        raise DataError(str(error)) from error
    return Split(images=images, labels=labels)
