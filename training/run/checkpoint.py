"""Checkpoints that survive a kill at any moment, also while they are written.

A checkpoint of an epoch has two files: `epoch-0007.weights.h5` (weights and optimizer state, which
includes the averaged weights) and `epoch-0007.json` (size and SHA-256 of the weights file, and the
history so far). Each is made in memory, written under a temporary name, synced to disk and renamed,
the JSON file last. A full disk ends the training with a StorageError, and the checkpoints before
stay as they are. The two newest checkpoints are kept, and the best epoch's on request. A checkpoint
that does not match its digest is skipped. Keras' BackupAndRestore keeps no digest and no history:
it can neither detect a truncated file nor restore an exact history.csv.
"""

import contextlib
import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import keras

from training import schemas, storage
from training.schemas import SchemaError
from training.settings.recipes import ConfigError

History = list[dict[str, float]]

_log = logging.getLogger(__name__)


def write_json(path: Path, content: object) -> None:
    """Write indented JSON as a whole or not at all; NaN raises ValueError: JSON has no NaN.

    Raises:
        StorageError: The file cannot be written.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    storage.write(path, text.encode())


def write_model(path: Path, model: keras.Model) -> None:
    """Write a model as a `.keras` file, as a whole or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    _write(path, model.save)


def save(folder: Path, model: keras.Model, history: History, *, keep: int | None = None) -> None:
    """Save the state after `len(history)` epochs and drop all but the newest checkpoints.

    Args:
        folder: Folder of the checkpoints; it is created if it is missing.
        model: The compiled model.
        history: One row for each epoch so far.
        keep: An epoch, from 1, whose checkpoint is kept as well; None for none.

    Raises:
        StorageError: The checkpoint cannot be written. The others are not changed.
    """
    storage.make_folder(folder)
    stem = _stem(len(history))
    weights = folder / f"{stem}.weights.h5"
    digest = _write(weights, model.save_weights)
    try:
        write_json(folder / f"{stem}.json", schemas.RUN.stamped({**digest, "history": history}))
    except storage.StorageError:
        with contextlib.suppress(OSError):
            weights.unlink()  # without the JSON file they only take room
        raise
    # Checkpoints are kept by number, not by age: after a resume from an older checkpoint, damaged
    # ones of later epochs are deleted as well.
    up_to_now = [path.stem for path in _newest_first(folder) if path.stem <= stem]
    kept = {*up_to_now[:2], _stem(keep or 0)}
    for path in _newest_first(folder):
        if path.stem not in kept:
            path.unlink()
            _weights_of(path).unlink(missing_ok=True)


def restore(folder: Path, model: keras.Model, *, rank: Callable[[History], Any] = len) -> History:
    """Load the intact checkpoint of the highest rank into a compiled model.

    Args:
        folder: The folder that `save` wrote to.
        model: The compiled model; a checkpoint overwrites its weights and optimizer state.
        rank: Returns the rank of a history; by default the newest checkpoint ranks highest.

    Returns:
        The history up to the checkpoint. Without an intact checkpoint it is empty and the model is
        not changed.

    Raises:
        ConfigError: A newer program wrote a checkpoint.
    """
    weights, history = next(_good_ones(folder, rank), (None, []))
    if weights is not None:
        # Loading fills existing variables, so create the optimizer's first.
        model.optimizer.build(model.trainable_variables)
        model.load_weights(weights)
    return history


def _good_ones(folder: Path, rank: Callable[[History], Any]) -> Iterator[tuple[Path, History]]:
    readable = []
    for path in _newest_first(folder):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            state: dict[str, Any] = schemas.RUN.body(document, path)
            digest, history = (state["bytes"], state["sha256"]), state["history"]
            readable.append((rank(history), _weights_of(path), digest, history))
        except SchemaError as error:  # an older checkpoint would throw epochs away
            raise ConfigError(str(error)) from error
        except (OSError, ValueError, LookupError, TypeError) as error:
            _log.warning("checkpoint %s is unusable (%s), trying another one", path, error)
    for _, weights, digest, history in sorted(readable, key=itemgetter(0), reverse=True):
        try:
            good = (weights.stat().st_size, _sha256(weights)) == digest
        except OSError as error:
            _log.warning("checkpoint %s is unusable (%s), trying another one", weights, error)
            continue
        if good:
            yield weights, history
        else:
            _log.warning("checkpoint %s is damaged, trying another one", weights)


def _stem(epoch: int) -> str:
    return f"epoch-{epoch:04d}"


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.json"), reverse=True)


def _weights_of(path: Path) -> Path:
    return path.with_suffix(".weights.h5")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _MemoryFile(io.BytesIO):
    """A file in memory with a name, because Keras chooses the format by its ending."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __str__(self) -> str:
        return self._name


def _write(path: Path, save_to: Callable[[_MemoryFile], None]) -> dict[str, Any]:
    """Write what a method of Keras saves; return the entries "bytes" and "sha256" of a checkpoint.

    HDF5 never writes to the disk itself: after a failed write it crashes the process when it closes
    the file.
    """
    file = _MemoryFile(path.name)
    save_to(file)
    content = file.getbuffer()
    storage.write(path, content)
    return {"bytes": content.nbytes, "sha256": hashlib.sha256(content).hexdigest()}
