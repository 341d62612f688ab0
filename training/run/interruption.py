"""Ctrl+C during a training, taken between two steps."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

import keras


class InterruptBetweenSteps(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Holds Ctrl+C back until the step under way is done; as a context manager around `fit`.

    Python raises KeyboardInterrupt between any two instructions, TensorFlow's own among them: about
    one in a hundred left a damaged heap behind (TensorFlow 2.21), and the process died of it.
    Between two steps, none of 450 did. A second Ctrl+C does not wait, for whoever is in a hurry.

    In other threads than the main one, which gets no signals, and where somebody else handles
    SIGINT, it does nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._interrupted = False
        self._before: Any = None

    def __enter__(self) -> Self:
        """Take SIGINT over."""
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
        """Give SIGINT back.

        Raises:
            KeyboardInterrupt: Ctrl+C came after the last step.
        """
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if kind is None:
            self._raise_if_interrupted()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Raise KeyboardInterrupt if it was asked for."""
        self._raise_if_interrupted()

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Raise KeyboardInterrupt if it was asked for."""
        self._raise_if_interrupted()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            signal.default_int_handler(number, frame)
        self._interrupted = True

    def _raise_if_interrupted(self) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
