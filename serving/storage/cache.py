"""The folder on the local disk that versions from stores are fetched into.

::

    <cache>/<digest of the base path>/
        base_path                     the URI of the model's folder, as text
        <version>-<fingerprint>/      a complete version: its files, as the store listed them
        <version>-<fingerprint>.part/ the same, being fetched or left by a killed process
        <version>-<fingerprint>.lock  locked by the processes that fetch or use the version

The fingerprint is that of the store's listing. A version whose files were replaced in the store is
another folder here, and nothing is written to a folder that a server uses. Processes on one machine
may share a cache: each version is fetched once, and none removes what another one uses.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.repository.storage_uri import StorageUri
from serving.storage.errors import FetchError

_PART, _LOCK, _BASE_PATH = ".part", ".lock", "base_path"
_WAIT_SECONDS = 0.2


@dataclass(frozen=True)
class Place:
    """The place of a version in the cache.

    Attributes:
        folder: Folder of the complete version; it may not exist yet.
    """

    folder: Path

    @property
    def part(self) -> Path:
        """Folder of the version while it is fetched."""
        return self.folder.with_name(self.folder.name + _PART)

    @property
    def lock(self) -> Path:
        """File that is locked while the version is fetched or used."""
        return self.folder.with_name(self.folder.name + _LOCK)

    @property
    def version(self) -> int:
        """The version's number."""
        return int(self.folder.name.partition("-")[0])

    def bytes(self) -> int:
        """Return the size of all files of the version, complete or not."""
        return sum(
            file.stat().st_size
            for folder in (self.folder, self.part)
            for file in folder.rglob("*")
            if file.is_file()
        )


class Cache:
    """The cache folder."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Use a folder as a cache; it is created with the first version.

        Args:
            path: The folder.
            max_bytes: Most bytes of all versions in it; 0: no limit.
        """
        self.path = path
        self._max_bytes = max_bytes

    def place(self, base_path: StorageUri, version: int, fingerprint: str) -> Place:
        """Return the place of a version."""
        return Place(self._folder(base_path) / f"{version}-{fingerprint}")

    def complete(self, base_path: StorageUri) -> list[Place]:
        """Return the complete versions of a model, the one fetched last at the end."""
        return sorted(
            (place for place in _places(self._folder(base_path)) if place.folder.is_dir()),
            key=lambda place: place.folder.stat().st_mtime_ns,
        )

    def models(self, models_dir: StorageUri) -> list[str]:
        """Return the names of the models of a folder that have a complete version here."""
        names = []
        for folder in self._folders():
            with contextlib.suppress(OSError):
                text = (folder / _BASE_PATH).read_text("utf-8")
                parent, _, name = text.rpartition("/")
                if parent == models_dir.text and any(
                    place.folder.is_dir() for place in _places(folder)
                ):
                    names.append(name)
        return sorted(names)

    def prepare(self, base_path: StorageUri) -> None:
        """Create the folder of a model.

        Raises:
            OSError: the cache cannot be written to.
        """
        folder = self._folder(base_path)
        folder.mkdir(parents=True, exist_ok=True)
        named = folder / _BASE_PATH
        if not named.exists():
            temporary = named.with_name(f".{_BASE_PATH}-{os.getpid()}-{threading.get_ident()}")
            temporary.write_text(base_path.text, "utf-8")
            temporary.replace(named)

    def make_room(self, needed: int, what: str) -> None:
        """Remove versions that no process uses, the oldest first, until there is room.

        Args:
            needed: Bytes that are to be written.
            what: What they are, for the message.

        Raises:
            FetchError: there is not enough room in the limit or on the disk.
        """
        places = [place for folder in self._folders() for place in _places(folder)]
        sizes = {place: place.bytes() for place in places}
        used = sum(sizes.values())
        places.sort(key=lambda place: place.lock.stat().st_mtime_ns if place.lock.exists() else 0)
        for place in places:
            if self._fits(used, needed):
                return
            if remove_unused(place):
                used -= sizes[place]
        if not self._fits(used, needed):
            free = shutil.disk_usage(self.path).free
            limit = f"its limit is {self._max_bytes:,}" if self._max_bytes else "it has no limit"
            msg = (
                f"{what} needs {needed:,} bytes in the cache {self.path}: versions in use take "
                f"{used:,}, {limit}, and the disk has {free:,} free; raise --storage_cache_bytes, "
                "or pass a --storage_cache_dir on a larger disk"
            )
            raise FetchError(msg)

    def _fits(self, used: int, needed: int) -> bool:
        within = not self._max_bytes or used + needed <= self._max_bytes
        return within and needed <= shutil.disk_usage(self.path).free

    def _folder(self, base_path: StorageUri) -> Path:
        digest = hashlib.sha256(base_path.text.encode()).hexdigest()[:16]
        return self.path / digest

    def _folders(self) -> list[Path]:
        try:
            return [folder for folder in self.path.iterdir() if folder.is_dir()]
        except FileNotFoundError:
            return []


def _places(folder: Path) -> list[Place]:
    """Return the versions in a model's folder, complete or not."""
    try:
        names = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        return []
    stems = {name.removesuffix(_LOCK).removesuffix(_PART) for name in names}
    return [Place(folder / stem) for stem in sorted(stems) if stem.partition("-")[0].isdecimal()]


@contextlib.contextmanager
def fetching(place: Place, is_stopped: "Stopped") -> Iterator[int | None]:
    """Wait until no other process fetches a version, and lock it.

    Args:
        place: The version.
        is_stopped: Ends the waiting.

    Yields:
        None if the version is complete, so that there is nothing to fetch; otherwise the lock's
        file descriptor. The lock ends with the block.
    """
    while True:
        lock = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if place.folder.is_dir():
                yield None
                return
            if _locked(lock, fcntl.LOCK_EX) and _is_current(lock, place.lock):
                if place.folder.is_dir():
                    yield None
                else:
                    yield lock
                return
        finally:
            os.close(lock)
        is_stopped.check()
        time.sleep(_WAIT_SECONDS)


class Stopped:
    """Whether the process is about to end; the waiting for a store then ends, too."""

    def __init__(self) -> None:
        self.is_set = False

    def check(self) -> None:
        """Raise FetchError if the process is about to end."""
        if self.is_set:
            msg = "the server is about to stop"
            raise FetchError(msg)


def use(place: Place) -> int | None:
    """Lock a complete version against its removal by other processes.

    Returns:
        The file descriptor to close afterwards; None if the version is not complete, or if another
        process is removing it.
    """
    lock = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if _locked(lock, fcntl.LOCK_SH) and _is_current(lock, place.lock) and place.folder.is_dir():
        os.utime(lock)  # the time of the last use decides which version is removed first
        return lock
    os.close(lock)
    return None


def remove_unused(place: Place) -> bool:
    """Remove a version that no process fetches or uses; return whether it was removed."""
    try:
        lock = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return False
    try:
        if not _locked(lock, fcntl.LOCK_EX):
            return False
        # Renamed first: a killed process leaves no half of a complete version.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(place.part)
        with contextlib.suppress(FileNotFoundError):
            place.folder.rename(place.part)
            shutil.rmtree(place.part)
        place.lock.unlink(missing_ok=True)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(lock)


def _locked(lock: int, operation: int) -> bool:
    try:
        fcntl.flock(lock, operation | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_current(lock: int, path: Path) -> bool:
    """Return whether a locked file is still the one at its path: it may have been removed."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(lock)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
