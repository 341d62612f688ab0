"""Checkpoints that survive a kill at any moment, also while they are written.

A checkpoint of an epoch has two files: `epoch-0007.weights.h5` (weights and optimizer state, which
includes the averaged weights) and `epoch-0007.json` (size and SHA-256 of the weights file, and the
history so far). Each is written under a temporary name, synced to disk and renamed, the JSON file
last. The two newest checkpoints are kept, and the best epoch's on request. A checkpoint that does
not match its digest is skipped. Keras' BackupAndRestore keeps no digest and no history: it can
neither detect a truncated file nor restore an exact history.csv.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import keras

History = list[dict[str, float]]

_log = logging.getLogger(__name__)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write` with a temporary path beside `path`, sync the file and rename it to `path`.

    A reader sees the old or the new content, never a part. The temporary name keeps the ending,
    because Keras and Matplotlib choose the format by it.
    """
    temporary = path.with_name(f".tmp-{path.name}")
    write(temporary)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    # The rename is durable only after the folder is synced.
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: object) -> None:
    """Write indented JSON atomically; NaN raises ValueError, because JSON has no NaN."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: _write_text(temporary, text))


def save(folder: Path, model: keras.Model, history: History, *, keep: int | None = None) -> None:
    """Save the state after `len(history)` epochs and drop all but the newest checkpoints.

    Args:
        folder: Folder of the checkpoints; it is created if it is missing.
        model: The compiled model.
        history: One row for each epoch so far.
        keep: An epoch, from 1, whose checkpoint is kept as well; None for none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = _stem(len(history))
    weights = folder / f"{stem}.weights.h5"
    write_atomically(weights, model.save_weights)
    state = {"bytes": weights.stat().st_size, "sha256": _sha256(weights), "history": history}
    write_json(folder / f"{stem}.json", state)
    # Checkpoints are kept by number, not by age: after a resume from an older checkpoint, damaged
    # ones of later epochs are deleted as well.
    kept = {_stem(epoch) for epoch in (len(history), len(history) - 1, keep) if epoch}
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
            state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            digest, history = (state["bytes"], state["sha256"]), state["history"]
            readable.append((rank(history), _weights_of(path), digest, history))
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


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
