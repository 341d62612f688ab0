"""Callbacks of every step and epoch: the divergence check, the record of epochs, checkpoints.

`training.run.train` lists the callbacks in order. A callback that changes what an epoch logs must
come before the EpochRecorder.
"""

import csv
import io
import math
import time
from pathlib import Path

import keras

from training import storage
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
    """Adds each epoch to the history, and rewrites history.csv.

    Attributes:
        history: One row for each epoch, with the keys of HISTORY_COLUMNS; "epoch" counts from 1.
            "learning_rate" is the rate after the last step. "train_seconds" excludes validation,
            "seconds" includes it, and both exclude the checkpoint.
    """

    def __init__(self, run_dir: Path, history: checkpoint.History) -> None:
        super().__init__()
        self.history = list(history)
        self._run_dir = run_dir
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
        write_history(self._run_dir / "history.csv", self.history)


class CheckpointSaver(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Saves a checkpoint after every so many epochs, and whenever the training may end.

    It must come after the callbacks that may set `stop_training`. Checkpoints contain the history:
    after a kill the epochs since the last checkpoint are trained again, and history.csv is written
    from it, so that no epoch is missing or listed twice.

    Attributes:
        unsaved: Number of epochs since the last checkpoint.
    """

    def __init__(
        self, run_dir: Path, history: checkpoint.History, *, every: int, last: int, keep_best: bool
    ) -> None:
        """Create the callback.

        Args:
            run_dir: The run folder.
            history: The list to which EpochRecorder adds the epochs.
            every: Epochs between two checkpoints.
            last: Number of the last epoch, counted from 1.
            keep_best: Whether the best epoch so far is always saved, and kept, for early stopping.
        """
        super().__init__()
        self.unsaved, self._seconds = 0, 0.0
        self._run_dir, self._history = run_dir, history
        self._every, self._last, self._keep_best = every, last, keep_best

    @property
    def seconds_of_an_epoch(self) -> float:
        """Time of the last checkpoint, divided among the epochs between two of them."""
        return self._seconds / self._every

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Save a checkpoint if one is due."""
        number = epoch + 1
        self.unsaved += 1
        is_best = self._keep_best and early_stopping.best_epoch(self._history) == number
        is_last = number == self._last or self.model.stop_training
        if is_best or is_last or number % self._every == 0:
            self.save()

    def save(self) -> None:
        """Save a checkpoint of the last epoch."""
        began = time.perf_counter()
        checkpoint.save(
            self._run_dir / "checkpoints",
            self.model,
            self._history,
            keep=early_stopping.best_epoch(self._history) if self._keep_best else None,
        )
        self.unsaved, self._seconds = 0, time.perf_counter() - began


def write_history(path: Path, history: checkpoint.History) -> None:
    """Write history.csv as a whole or not at all, with one line for each epoch.

    Raises:
        StorageError: The file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, HISTORY_COLUMNS)
    writer.writeheader()
    writer.writerows(history)
    storage.write(path, text.getvalue().encode())


def read_history(path: Path) -> checkpoint.History:
    """Read what `write_history` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(row[key]) for key in row} for row in csv.DictReader(file)]
