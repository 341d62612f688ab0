"""The TensorBoard logs of a run, in its folder `tensorboard`."""

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from training import storage

_FOLDER = "tensorboard"
_log = logging.getLogger(__name__)


def callbacks(run_dir: Path) -> list[keras.callbacks.Callback]:
    """Return the callback that writes the logs; none, with a line in the log, if it cannot."""
    if not all(importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard")):
        _log.info("no TensorBoard logs: they need tensorflow and tensorboard installed")
        return []
    return [
        keras.callbacks.TensorBoard(run_dir / _FOLDER, write_graph=False, profile_batch=0),
    ]


@contextmanager
def explained(run_dir: Path) -> Iterator[None]:
    """Turn TensorFlow's error about a log file that it cannot write into a StorageError.

    TensorFlow reports a full disk and a GPU without memory with the same type of error.
    """
    folder = run_dir / _FOLDER
    try:
        yield
    except Exception as error:
        cause = storage.quoted(error)
        if (
            isinstance(error, storage.StorageError)
            or cause is None
            or str(folder) not in str(error)
        ):
            raise
        raise storage.StorageError(storage.explain(cause, folder)) from error
