"""The staging folder, in the model's folder, to which the next version is written.

The process that writes to it holds a lock on it. The lock distinguishes a folder that another
process is writing to, even in another container, from a leftover of a killed process.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = ".publishing-"


@contextlib.contextmanager
def staging(model_dir: Path) -> Iterator[Path]:
    """Create an empty staging folder; remove leftovers before, and the folder itself at the end.

    Args:
        model_dir: `<models_dir>/<name>`; must exist.

    Yields:
        The staging folder, which the caller may rename.

    Raises:
        OSError: `model_dir` cannot be written to.
    """
    _remove_leftovers(model_dir)
    path, lock = _make(model_dir)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _make(model_dir: Path) -> tuple[Path, int]:
    """Create a staging folder; return its path and the file descriptor that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=model_dir))
        lock = os.open(path, os.O_RDONLY)
        # Some network file systems cannot lock folders; leftovers are not removed there.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if path.is_dir():
            return path, lock
        os.close(lock)  # another process removed the folder as a leftover before it was locked


def _remove_leftovers(model_dir: Path) -> None:
    for path in model_dir.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # the folder is gone, is no folder, or belongs to another user
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process holds the lock
            continue
        else:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)
