"""Keeps everything else off the GPU while a CUDA graph is captured.

ONNX Runtime captures with `cudaStreamCaptureModeGlobal`: if another thread of the process meanwhile
allocates memory, copies synchronously or waits for a stream, that call fails and the capture, too.
Runs on CUDA and changes of sessions therefore take a shared turn, a capture takes one alone.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class GpuTurns:
    """A lock that many threads share, or one thread has alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._is_alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Use the GPU beside other threads; waits while a thread uses it alone."""
        with self._changed:
            while self._is_alone:
                self._changed.wait()
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                if not self._sharing:
                    self._changed.notify_all()

    @contextmanager
    def alone(self, seconds: float) -> Iterator[None]:
        """Use the GPU alone; threads that come later wait.

        Args:
            seconds: How long to wait for the others. A run may take hours, and while this thread
                waits no other run begins.

        Raises:
            TimeoutError: other threads still use the GPU.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._is_alone, seconds):
                raise TimeoutError(_busy(seconds))
            self._is_alone = True
            if not self._changed.wait_for(lambda: not self._sharing, seconds):
                self._end_alone()
                raise TimeoutError(_busy(seconds))
        try:
            yield
        finally:
            with self._changed:
                self._end_alone()

    def _end_alone(self) -> None:
        self._is_alone = False
        self._changed.notify_all()


def _busy(seconds: float) -> str:
    return f"other runs used the GPU for more than {seconds:.0f} s"


TURNS = GpuTurns()
