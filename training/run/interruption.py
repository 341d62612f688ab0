"""Handling of Ctrl+C during a training: when the interruption is raised."""

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

import keras

from training.run.callbacks import CheckpointSaver

_log = logging.getLogger(__name__)


class InterruptBetweenSteps(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Delays Ctrl+C until the current step is done; use it as a context manager around `fit`.

    Python raises KeyboardInterrupt between any two instructions, also inside TensorFlow's Python
    code. About one interruption in a hundred damaged the heap (TensorFlow 2.21) and crashed the
    process; of 450 interruptions between two steps, none did. A second Ctrl+C is not delayed.

    If finished epochs are not in a checkpoint yet, the current epoch is finished and saved before
    the interruption is raised. The callback must come after CheckpointSaver.

    It does nothing outside the main thread, because only the main thread receives signals, and
    nothing if SIGINT already has another handler.
    """

    def __init__(self, checkpoints: CheckpointSaver) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._interrupted = False
        self._waits = False
        self._before: Any = None

    def __enter__(self) -> Self:
        """Install the handler of SIGINT."""
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore the previous handler of SIGINT.

        Raises:
            KeyboardInterrupt: Ctrl+C came after the last step.
        """
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if kind is None:
            self._raise_if_interrupted()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Raise KeyboardInterrupt if Ctrl+C was pressed during the step."""
        self._raise_between_steps()

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Raise KeyboardInterrupt if Ctrl+C was pressed during the step."""
        self._raise_between_steps()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Save the epoch and raise KeyboardInterrupt if Ctrl+C was pressed before its end."""
        if self._interrupted and self._checkpoints.unsaved:
            self._checkpoints.save()
        self._raise_if_interrupted()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            signal.default_int_handler(number, frame)
        self._interrupted = True

    def _raise_between_steps(self) -> None:
        unsaved = self._checkpoints.unsaved
        if not unsaved:
            self._raise_if_interrupted()
        elif self._interrupted and not self._waits:
            self._waits = True
            _log.warning(
                "interrupted: this epoch is finished, because the %d before it are not saved yet; "
                "Ctrl+C again ends the training at once without them",
                unsaved,
            )

    def _raise_if_interrupted(self) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
