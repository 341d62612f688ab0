"""Handling of Ctrl+C during a training: the interruption is raised between two steps."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

import keras


class InterruptBetweenSteps(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Delays Ctrl+C until the current step is done; use it as a context manager around `fit`.

    Python raises KeyboardInterrupt between any two instructions, also inside TensorFlow's Python
    code. About one interruption in a hundred damaged the heap (TensorFlow 2.21) and crashed the
    process; of 450 interruptions between two steps, none did. A second Ctrl+C is not delayed.

    It does nothing outside the main thread, because only the main thread receives signals, and
    nothing if SIGINT already has another handler.
    """

    def __init__(self) -> None:
        super().__init__()
        self._interrupted = False
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
        self._raise_if_interrupted()

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Raise KeyboardInterrupt if Ctrl+C was pressed during the step."""
        self._raise_if_interrupted()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            signal.default_int_handler(number, frame)
        self._interrupted = True

    def _raise_if_interrupted(self) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
