"""The speed of a training: seconds of an epoch, of its validation and of the compilation."""

import statistics
import time

import keras


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
