"""The folder beside a model's versions in which the next one is written.

It is locked while its process lives, so that what a killed one has left can be told from what
another one is writing, in whatever container that is.
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
    """An empty folder, removed at the end if it is still there; leftovers are removed first.

    Args:
        model_dir: `<models_dir>/<name>`; exists.

    Raises:
        OSError: it cannot be written to.
    """
    _remove_leftovers(model_dir)
    path, lock = _make(model_dir)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _make(model_dir: Path) -> tuple[Path, int]:
    """A new folder, and the descriptor that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=model_dir))
        lock = os.open(path, os.O_RDONLY)
        # Some network file systems lock no folders; such leftovers are nobody's to remove.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if path.is_dir():
            return path, lock
        os.close(lock)  # another process took it for a leftover before it was locked


def _remove_leftovers(model_dir: Path) -> None:
    for path in model_dir.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # gone, or no folder of ours
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its process lives
            continue
        else:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)
