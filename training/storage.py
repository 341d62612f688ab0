"""Files that are written as a whole or not at all, and the reason and way out if they cannot be.

All content is made in memory before the file is opened. Libraries that write to the disk themselves
may fail badly if it is full: HDF5 crashes the process.
"""

import contextlib
import errno
import os
import resource
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_TEMPORARY = ".tmp-"
_WAYS_OUT = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of the quota",
    errno.EFBIG: "raise the limit with ulimit -f",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
}
# Errors that any library may raise as an OSError and that only writing causes.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


class StorageError(Exception):
    """A file or folder cannot be written.

    The message is one line: what was to be written, the system's reason, the room that there is,
    and as the last words what to do about it. The caller may append " and ...".
    """


def write(path: Path, content: bytes | memoryview) -> None:
    """Replace a file as a whole: a reader sees the old or the new content, never a part.

    Args:
        path: The file; its folder exists.
        content: The new content. It is synced to the disk before the file has its name.

    Raises:
        StorageError: The file cannot be written. It keeps its old content, and no temporary file
            is left.
    """
    write_all({path: content})


def write_all(contents: Mapping[Path, bytes | memoryview]) -> None:
    """Replace several files: all contents are on the disk before the first file changes.

    Args:
        contents: The new contents by file; the folders exist.

    Raises:
        StorageError: A file cannot be written. If the disk is full, all files keep their old
            contents. No temporary file is left.
    """
    temporary = {path: path.with_name(f"{_TEMPORARY}{path.name}") for path in contents}
    for path, content in contents.items():
        # The message names the room that there is without the temporary files.
        with writing(path, size=memoryview(content).nbytes), _removed(temporary.values()):
            _write(temporary[path], content)
    for path in contents:
        with writing(path), _removed(temporary.values()):
            temporary[path].replace(path)
    for parent in {path.parent for path in contents}:
        with writing(parent):
            _sync(parent)


def make_folder(path: Path) -> None:
    """Create a folder and its parents if they are missing.

    Raises:
        StorageError: The folder cannot be created.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def folder(path: Path, *, keep: bool = True) -> Iterator[None]:
    """Create a folder and its parents if they are missing, for the files that the block writes.

    If the block raises an error, the folders that were created and are empty are removed.

    Args:
        path: The folder.
        keep: Whether the created folders are kept if the block raises no error.

    Raises:
        StorageError: The folder cannot be created.
    """
    created = [place for place in (path, *path.parents) if not place.exists()]
    done = False
    try:
        make_folder(path)
        yield
        done = keep
    finally:
        if not done:
            with contextlib.suppress(OSError):  # a folder with files in it stays
                for place in created:
                    place.rmdir()


def check(path: Path) -> None:
    """Check that a file can be written to a folder, and leave nothing behind.

    Args:
        path: The folder, which may be missing.

    Raises:
        StorageError: The folder cannot be created or written to.
    """
    with folder(path, keep=False), writing(path), tempfile.TemporaryFile(dir=path) as file:
        file.write(b"\n")
        file.flush()


@contextlib.contextmanager
def writing(path: Path, *, size: int | None = None) -> Iterator[None]:
    """Turn an OSError in the block into a StorageError.

    Args:
        path: The file or folder that the block writes.
        size: Number of bytes that the block writes; None if it is unknown.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(explain(error, path, size=size)) from error


def quoted(error: Exception) -> OSError | None:
    """Return the full disk that a library's error quotes; None if there is none.

    TensorFlow, for example, reports "PATH; No space left on device" as an error of its own.
    """
    text = str(error)
    codes = (code for code in _FULL if os.strerror(code) in text)
    return next((OSError(code, os.strerror(code)) for code in codes), None)


def told(error: StorageError | OSError) -> str | None:
    """Return the message of a file that cannot be written; None for an OSError that may be another.

    Libraries that write files of their own, for example temporary ones, raise an OSError.
    """
    if isinstance(error, StorageError):
        return str(error)
    if error.errno not in _FULL:
        return None
    return explain(error, Path(error.filename or "."))


def explain(error: OSError, path: Path, *, size: int | None = None) -> str:
    """Return the message of a StorageError.

    Args:
        error: What the system answered.
        path: The file or folder that cannot be written.
        size: Number of bytes of the file; None if it is unknown.
    """
    what = f"{path} ({_bytes(size)})" if size is not None else str(path)
    room = _room(error, path)
    told = f"{error.strerror or error}, {room}" if room else error.strerror or error
    way_out = _WAYS_OUT.get(error.errno or 0, "repair this")
    return f"cannot write {what}: {told}; {way_out}"


def _room(error: OSError, path: Path) -> str:
    """Return what the file system has left, or the process's limit; empty if it does not matter."""
    if error.errno == errno.EFBIG:
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        return "" if limit == resource.RLIM_INFINITY else f"a file may have {_bytes(limit)}"
    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return ""
    try:
        places = (path.absolute(), *path.absolute().parents)
        there = next(place for place in places if place.is_dir())
        system = os.statvfs(there)
    except (OSError, StopIteration):
        return ""
    if system.f_files and not system.f_favail:
        return f"no more files can be created, as all {system.f_files:,} are used"
    free, whole = system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize
    return f"{_bytes(free)} of {_bytes(whole)} are free"


def _bytes(count: int) -> str:
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"


@contextlib.contextmanager
def _removed(paths: Iterable[Path]) -> Iterator[None]:
    """Remove files if the block raises an error."""
    try:
        yield
    except BaseException:
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink()
        raise


def _write(path: Path, content: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Sync a folder to the disk: only then a power cut cannot undo the renaming of its files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
