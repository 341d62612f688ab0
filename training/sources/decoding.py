"""Decodes the pictures of a listing on all cores, once: into memory, or many of them into a file.

The file is in a cache folder, under a name that follows from the pictures and the size:

    <cache>/<key>/pixels.bin     the pixels of picture i at i * side * side * 3 bytes
    <cache>/<key>/facts.bin      FACTS of each picture; state 0: not decoded yet
    <cache>/<key>/lock           held by the process that decodes

A block of pictures is on the disk before its facts are, so a decoding that was killed goes on where
it was. Memory is bounded by the block.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training import storage
from training.live_line import LiveLine
from training.sources.listing import Listing, SourcePicture
from training.sources.pixels import BrokenPictureError, Examined, examine

CACHE_VARIABLE = "PICTURES_CACHE_DIR"
TODO, GOOD, BROKEN = 0, 1, 2
FACTS = np.dtype(
    [
        ("state", "u1"),
        ("kind", "u1"),
        ("turned", "u1"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("content", "<u8", (2,)),
        ("look", "<u8"),
    ]
)
# More pixels than this are kept in a file and not in memory.
MEMORY_BYTES = 256 * 2**20
_RULE = b"1"  # of training.sources.pixels; another number makes all pictures be decoded again
_BLOCK_BYTES = 32 * 2**20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PixelFile:
    """Decoded pictures in a file, read row by row: the operating system caches it, not the process.

    Attributes:
        path: The file.
        side: Height and width of a picture.
    """

    path: Path
    side: int

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return pictures: uint8, shape (rows, side, side, 3)."""
        pixels = np.empty((len(rows), self.side, self.side, 3), np.uint8)
        size = self.side * self.side * 3
        with self.path.open("rb", buffering=0) as file:
            for place, row in zip(pixels, rows.tolist(), strict=True):
                if os.preadv(file.fileno(), [place.data], row * size) != size:
                    msg = f"{self.path} ends before picture {row}; remove its folder"
                    raise OSError(msg)
        return pixels


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The pictures of a listing, decoded.

    Attributes:
        facts: FACTS of each picture, shape (n,).
        reasons: Why a picture is broken, by its position in the listing.
        pixels: uint8, shape (n, side, side, 3), zeros for broken pictures, or the file of them;
            None if only the facts were asked for.
        seconds: Time that the decoding took; 0.0 if all pictures were in the cache.
    """

    facts: npt.NDArray[np.void]
    reasons: dict[int, str]
    pixels: npt.NDArray[np.uint8] | PixelFile | None
    seconds: float


def decode(listing: Listing, side: int, *, keep: bool = True) -> Decoded:
    """Decode the pictures of a listing.

    Args:
        listing: The pictures.
        side: Height and width in pixels to which they are scaled.
        keep: Whether the pixels are kept, in memory or in the cache.

    Raises:
        DataError: Pillow is not installed.
        StorageError: The cache cannot be written.
    """
    pictures = [row.picture for row in listing.pictures]
    if keep and len(pictures) * side * side * 3 > MEMORY_BYTES:
        return _into_file(pictures, side)
    began = time.monotonic()
    facts = np.zeros(len(pictures), FACTS)
    pixels = np.zeros((len(pictures), side, side, 3), np.uint8) if keep else None
    reasons: dict[int, str] = {}
    for block, decoded in _blocks(pictures, np.arange(len(pictures)), side):
        _note(facts, reasons, block, decoded)
        if pixels is not None:
            for row, each in zip(block, decoded, strict=True):
                if isinstance(each, Examined):
                    pixels[row] = each.pixels
    return Decoded(facts=facts, reasons=reasons, pixels=pixels, seconds=time.monotonic() - began)


def cache_folder() -> Path:
    """Return the folder of decoded pictures: of the variable, or in the user's cache folder."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "onnx-serving" / "pictures"


def _into_file(pictures: Sequence[SourcePicture], side: int) -> Decoded:
    folder = cache_folder() / _key(pictures, side)
    storage.make_folder(folder)
    pixel_file, facts_file = folder / "pixels.bin", folder / "facts.bin"
    with _locked(folder / "lock"):
        began = time.monotonic()
        facts = _known(facts_file, len(pictures))
        todo = np.flatnonzero(facts["state"] != GOOD)
        reasons: dict[int, str] = {}
        size = len(pictures) * side * side * 3
        if (facts["state"] == TODO).any():
            _log.info("decoding %s pictures into %s", f"{len(todo):,}", folder)
        with storage.writing(pixel_file, size=size):
            pixel_file.touch()
            os.truncate(pixel_file, size)
        with pixel_file.open("r+b", buffering=0) as file:
            for block, decoded in _blocks(pictures, todo, side):
                with storage.writing(pixel_file, size=size):
                    for row, each in zip(block, decoded, strict=True):
                        if isinstance(each, Examined):
                            os.pwrite(file.fileno(), each.pixels.data, int(row) * side * side * 3)
                    os.fsync(file.fileno())
                _note(facts, reasons, block, decoded)
                storage.write(facts_file, facts.tobytes())
        seconds = time.monotonic() - began if len(todo) > len(reasons) else 0.0
    return Decoded(
        facts=facts, reasons=reasons, pixels=PixelFile(pixel_file, side), seconds=seconds
    )


def _key(pictures: Sequence[SourcePicture], side: int) -> str:
    digest = hashlib.sha256(_RULE + str(side).encode())
    for picture in pictures:
        digest.update(f"\n{picture.name}\t{picture.version}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _known(file: Path, count: int) -> npt.NDArray[np.void]:
    """Return the facts that are known already; zeros if there are none or too few."""
    with contextlib.suppress(FileNotFoundError):
        found = np.fromfile(file, FACTS)
        if len(found) == count:
            return found
    return np.zeros(count, FACTS)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with storage.writing(path):
        file = path.open("a")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _blocks(
    pictures: Sequence[SourcePicture], rows: npt.NDArray[np.int64], side: int
) -> Iterator[tuple[npt.NDArray[np.int64], list[Examined | str]]]:
    """Yield the rows of each block with their pictures, or the reasons why they are broken."""
    size = max(16, _BLOCK_BYTES // (side * side * 3))
    cores = len(os.sched_getaffinity(0))
    line = LiveLine(sys.stderr, first_seconds=5.0, log_seconds=30.0, terminal_seconds=0.5)
    # Pillow decodes and scales without holding Python's global lock.
    with ThreadPoolExecutor(cores) as executor:
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            yield block, list(executor.map(lambda row: _examine(pictures[row], side), block))
            done = start + len(block)
            if line.is_due() and done < len(rows):
                speed = done / line.seconds
                line.show(f"decoded {done:,} of {len(rows):,} pictures, {speed:,.0f} a second")


def _examine(picture: SourcePicture, side: int) -> Examined | str:
    try:
        return examine(picture.content(), side)
    except BrokenPictureError as error:
        return str(error)
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"


def _note(
    facts: npt.NDArray[np.void],
    reasons: dict[int, str],
    block: npt.NDArray[np.int64],
    decoded: Sequence[Examined | str],
) -> None:
    for row, each in zip(block.tolist(), decoded, strict=True):
        if isinstance(each, str):
            facts[row] = np.zeros((), FACTS)
            facts[row]["state"] = BROKEN
            reasons[row] = each
        else:
            content = np.frombuffer(each.content, "<u8")
            size = (each.width, each.height)
            facts[row] = (GOOD, each.kind, each.turned, *size, content, each.look)
