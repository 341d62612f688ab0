"""Shows the progress of a training: within the epoch, and in one line for each finished epoch."""

import statistics
import sys
import time
from typing import TextIO

import keras

from training.live_line import LiveLine

_LOG_SECONDS = 30.0
_TERMINAL_SECONDS = 0.2
_BAR_CHARACTERS = 20


class EpochProgress(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Replaces Keras' progress bar, which is silent within an epoch if the output is a log.

    On a terminal one line is overwritten; a log gets a line after each 30 s. The line has the
    images done, the images per second, and the time left of the epoch and of the run.
    """

    def __init__(
        self, *, epochs: int, images: int, batch_size: int, stream: TextIO | None = None
    ) -> None:
        """Create the callback. The sizes are used to estimate the times left.

        Args:
            epochs: Number of the last epoch, counted from 1.
            images: Training images of an epoch.
            batch_size: Images of a step; the last step of an epoch may have fewer images.
            stream: Stream to write to; by default stdout.
        """
        super().__init__()
        self._epochs, self._images, self._batch_size = epochs, images, batch_size
        self._stream = stream or sys.stdout
        self._line = LiveLine(
            self._stream,
            first_seconds=0.0,
            log_seconds=_LOG_SECONDS,
            terminal_seconds=_TERMINAL_SECONDS,
        )
        self._epoch = 0
        self._epoch_seconds: list[float] = []
        self._began = self._measured_from = 0.0
        self._uncounted = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Start the epoch's clock."""
        self._epoch = epoch + 1
        self._began = self._measured_from = time.perf_counter()
        self._uncounted = 0
        if not self._epoch_seconds:
            self._line.show(f"{self._title()}: compiling the first step")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Show the step; the speed leaves out the session's first step, which compiles."""
        done = min((batch + 1) * self._batch_size, self._images)
        if not self._epoch_seconds and not self._uncounted:
            self._uncounted, self._measured_from = done, time.perf_counter()
            return
        if self._line.is_due():
            self._line.show(f"{self._title()}: {self._state(done, logs or {})}")

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Show that the epoch's steps are done."""
        self._line.show(f"{self._title()}: validating", at_once=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the line of the finished epoch."""
        seconds = time.perf_counter() - self._began
        self._epoch_seconds.append(seconds)
        self._line.clear()
        parts = [*_measures(logs or {}), _duration(seconds)]
        if left := self._epochs - epoch - 1:
            parts.append(f"about {_duration(left * statistics.median(self._epoch_seconds))} left")
        self._stream.write(f"{self._title()}: {', '.join(parts)}\n")
        self._stream.flush()

    def close(self) -> None:
        """Remove the line on a terminal; call this also if the training ends with an error."""
        self._line.clear()

    def _title(self) -> str:
        return f"epoch {self._epoch} of {self._epochs}"

    def _state(self, done: int, logs: dict[str, float]) -> str:
        passed = max(time.perf_counter() - self._measured_from, 1e-9)
        speed = max(done - self._uncounted, 1) / passed
        epoch_left = (self._images - done) / speed
        an_epoch = statistics.median(self._epoch_seconds or [self._images / speed])
        run_left = epoch_left + (self._epochs - self._epoch) * an_epoch
        bar = ""
        if self._line.is_on_terminal:
            filled = _BAR_CHARACTERS * done // self._images
            bar = f"[{'=' * filled:<{_BAR_CHARACTERS}}] "
        return bar + ", ".join(
            [
                f"{done:,} of {self._images:,} images",
                f"{_duration(epoch_left)} left, {_duration(run_left)} of the run",
                f"{speed:,.0f} images/s",
                *_measures(logs),
            ]
        )


def _measures(logs: dict[str, float]) -> list[str]:
    """Return loss and accuracy as phrases, on training images and then on validation images."""
    names = {"loss": "loss", "accuracy": "accuracy"}
    names |= {f"val_{name}": f"validation {text}" for name, text in names.items()}
    return [
        f"{text} {logs[name]:.2%}" if "accuracy" in name else f"{text} {logs[name]:.4f}"
        for name, text in names.items()
        if name in logs
    ]


def _duration(seconds: float) -> str:
    """Return a duration in its largest useful unit: 59 s, 35 min, 2 h 5 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
