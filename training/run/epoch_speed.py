"""The speed of a training: seconds of an epoch, of its validation and of the compilation."""

import statistics
import time
from pathlib import Path

import keras

from training.run import checkpoint


class EpochSpeed(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Measures the epochs of this session, and separates the compilation from them.

    The first call of the training step and of the validation step compiles it. Its time beyond that
    of the other steps counts as compilation. With a single call in the first epoch the two cannot
    be separated, and the compilation counts as part of the epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._training, self._validation = _Part(), _Part()
        self._began = 0.0
        self._epochs: list[float] = []
        self._validations: list[float] = []
        self.compile_seconds = 0.0

    @property
    def measured_epochs(self) -> int:
        """Number of epochs of this session."""
        return len(self._epochs)

    @property
    def epoch_seconds(self) -> float:
        """Seconds of an epoch, with validation and without checkpoint: the median.

        If the session has more than one epoch, the first one does not count.
        """
        return statistics.median(self._epochs[1:] or self._epochs or [0.0])

    @property
    def validation_seconds(self) -> float:
        """Seconds of the validation of an epoch: the median, as for `epoch_seconds`."""
        return statistics.median(self._validations[1:] or self._validations or [0.0])

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Start the clocks of the epoch and of its training steps."""
        self._began = time.monotonic()
        self._training.begin()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Note the end of a step."""
        self._training.step(batch)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Start the clock of the validation."""
        self._validation.begin()

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Note the end of a step."""
        self._validation.step(batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Add the epoch to the measurement."""
        seconds, validation = time.monotonic() - self._began, self._validation.seconds
        if not self._epochs:
            own = self._validation.first_excess
            self.compile_seconds = self._training.first_excess + own
            seconds, validation = seconds - self.compile_seconds, validation - own
        self._epochs.append(seconds)
        self._validations.append(validation)


class SpeedRecord(EpochSpeed):
    """Writes the speed of this session to speed.json after each epoch.

    It must come after CheckpointSaver, so that an epoch includes its checkpoint.

    The file has `epochs`, the number of epochs of this session; `start_seconds`, the time before
    the first of them with the compilation; and `epoch_seconds`.
    """

    def __init__(self, path: Path, *, began: float) -> None:
        """Create the callback.

        Args:
            path: The file.
            began: `time.monotonic()` at the start of this session.
        """
        super().__init__()
        self._path, self._session_began = path, began
        self._first_epoch_began: float | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clocks; see EpochSpeed."""
        super().on_epoch_begin(epoch, logs)
        self._first_epoch_began = self._first_epoch_began or time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add the epoch, and write the file."""
        super().on_epoch_end(epoch, logs)
        waited = (self._first_epoch_began or self._session_began) - self._session_began
        speed = {
            "epochs": self.measured_epochs,
            "start_seconds": round(waited + self.compile_seconds, 3),
            "epoch_seconds": round(self.epoch_seconds, 3),
        }
        checkpoint.write_json(self._path, speed)


class _Part:
    """The times of the steps of one epoch's training or validation."""

    def __init__(self) -> None:
        self._began = self._first = self._last = 0.0
        self._first_steps = self._steps = 0

    def begin(self) -> None:
        self._began = self._first = self._last = time.monotonic()
        self._first_steps = self._steps = 0

    def step(self, batch: int) -> None:
        self._last, self._steps = time.monotonic(), batch + 1
        if not self._first_steps:
            self._first, self._first_steps = self._last, self._steps

    @property
    def seconds(self) -> float:
        return self._last - self._began

    @property
    def first_excess(self) -> float:
        """Seconds of the first call beyond those of as many of the other steps."""
        others = self._steps - self._first_steps
        if not others:
            return 0.0
        usual = (self._last - self._first) / others * self._first_steps
        return max(0.0, self._first - self._began - usual)
