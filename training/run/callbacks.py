"""Callbacks of every step and epoch: the divergence check and the record of epochs.

`training.run.train` lists the callbacks in order. A callback that changes what an epoch logs must
come before the EpochRecorder.
"""

import csv
import math
import time
from pathlib import Path

import keras

from training.run import checkpoint, early_stopping

HISTORY_COLUMNS = (
    "epoch",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "train_seconds",
    "seconds",
)


class DivergedError(RuntimeError):
    """The loss became NaN or infinite, so that further training is useless."""


class DivergenceStop(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Raises DivergedError at the first step or validation with a loss that is not finite.

    Keras' TerminateOnNaN ends `fit` without an error and does not know the epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Store the epoch for the message."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Check the running mean of the loss; a single NaN makes it NaN."""
        self._check("loss", logs, f"step {batch + 1} of epoch {self._epoch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Check the validation loss, which the last step may have ruined, before recording it."""
        self._check("val_loss", logs, f"the end of epoch {epoch + 1}")

    def _check(self, name: str, logs: dict[str, float] | None, when: str) -> None:
        value = float((logs or {}).get(name, 0.0))
        if not math.isfinite(value):
            rate = float(self.model.optimizer.learning_rate)
            msg = (
                f"{name} is {value} at {when} (learning rate {rate:.3g}), expected a finite "
                "number; start again in another --run-dir with a lower --learning-rate, or without "
                "--mixed-precision if it is on"
            )
            raise DivergedError(msg)


class EpochRecorder(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Adds each epoch to the history, saves a checkpoint, and rewrites history.csv.

    The checkpoint contains the history and history.csv is written from it, so that after a kill no
    epoch is missing or listed twice.

    Attributes:
        history: One row for each epoch, with the keys of HISTORY_COLUMNS; "epoch" counts from 1.
            "learning_rate" is the rate after the last step. "train_seconds" excludes validation,
            "seconds" includes it, and both exclude the checkpoint.
    """

    def __init__(
        self, run_dir: Path, history: checkpoint.History, *, keep_best: bool = False
    ) -> None:
        super().__init__()
        self.history = list(history)
        self._run_dir = run_dir
        self._keep_best = keep_best
        self._began = self._trained = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Store the start time of the epoch."""
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Store the end time of the step; the last step's is the end of the training part."""
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Record the epoch."""
        measured = {
            **(logs or {}),
            "epoch": epoch + 1,
            "learning_rate": self.model.optimizer.learning_rate,
            "train_seconds": round(self._trained - self._began, 3),
            "seconds": round(time.perf_counter() - self._began, 3),
        }
        row = {name: float(measured[name]) for name in HISTORY_COLUMNS}
        self.history.append(row | {"epoch": epoch + 1})
        checkpoint.save(
            self._run_dir / "checkpoints",
            self.model,
            self.history,
            keep=early_stopping.best_epoch(self.history) if self._keep_best else None,
        )
        write_history(self._run_dir / "history.csv", self.history)


def write_history(path: Path, history: checkpoint.History) -> None:
    """Write history.csv atomically, with one line for each epoch."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, HISTORY_COLUMNS)
            writer.writeheader()
            writer.writerows(history)

    checkpoint.write_atomically(path, write)


def read_history(path: Path) -> checkpoint.History:
    """Read what `write_history` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(row[key]) for key in row} for row in csv.DictReader(file)]
