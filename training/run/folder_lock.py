"""The lock of a folder that one process at a time may write to."""

import contextlib
import fcntl
import logging
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from training import storage
from training.settings.recipes import ConfigError

_LOCK_FILE = ".lock"
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def lock(folder: Path, *, flag: str = "--run-dir") -> Iterator[None]:
    """Lock a folder against other trainings or searches; it is created if it is missing.

    The system releases the lock of a killed process, so that a left-over lock file blocks nothing.

    Args:
        folder: The folder of a run or of a search.
        flag: The flag that chose the folder, for the message.

    Raises:
        ConfigError: Another process uses the folder; the message names the process.
        StorageError: The folder or the lock file cannot be written.
    """
    storage.make_folder(folder)
    path = folder / _LOCK_FILE
    while True:
        with storage.writing(path):
            file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                file.seek(0)
                holder = file.read().strip() or "another process"
            msg = f"{folder} is in use by {holder}; let it finish or end it, or pass another {flag}"
            raise ConfigError(msg) from None
        except OSError as error:
            _log.warning("cannot lock %s (%s); start no second process there", path, error)
        if os.fstat(file.fileno()).st_nlink:
            break
        file.close()  # its holder removed it after it was opened here: try again
    try:
        with storage.writing(path):
            path.write_text(f"process {os.getpid()} on {platform.node()}\n", encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):  # the disk may be read-only by now
            path.unlink()
        file.close()  # last: nobody else may lock the file before it is gone
