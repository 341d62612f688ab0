"""Shows the progress of an export's current step: the time so far, and how much of it is done.

Nothing is shown outside of `shown_on`. When a step ends, its caller logs it.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from training.live_line import LiveLine

_TICK_SECONDS = 0.5
_LOG_SECONDS = 5.0


class _Step:
    """A step with its time so far, the name of its current part, and its counts."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.part = ""
        self.counts = ""
        self._began = time.monotonic()

    def __str__(self) -> str:
        seconds = f"{time.monotonic() - self._began:.0f} s so far"
        return f"{self.what}: {', '.join(filter(None, (self.part, self.counts, seconds)))}"


class _Shown:
    """The line on the screen and the step that it shows.

    The lock keeps a log record and a tick of the step's thread from writing at the same time.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.line: LiveLine | None = None
        self.step: _Step | None = None


_shown = _Shown()


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes log records in the place of the line that shows the progress."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        with _shown.lock:
            if _shown.line:
                _shown.line.clear()
            super().emit(record)


@contextlib.contextmanager
def shown_on(stream: TextIO) -> Iterator[None]:
    """Show the progress of all steps in the block.

    Args:
        stream: Stream to write to. On a terminal the progress is one changing line; otherwise a
            step gets a line after each 5 s.
    """
    before = _shown.line
    _shown.line = LiveLine(stream, first_seconds=_LOG_SECONDS, log_seconds=_LOG_SECONDS)
    try:
        yield
    finally:
        _shown.line = before


@contextlib.contextmanager
def during(what: str) -> Iterator[None]:
    """Show a step while the block runs, also while the block waits for a library.

    Args:
        what: The step, such as "converting it to ONNX".
    """
    line, before = _shown.line, _shown.step
    if line is None:
        yield
        return
    step = _shown.step = _Step(what)
    line.restart()
    ended = threading.Event()
    ticker = threading.Thread(target=_tick, args=(line, step, ended), name="progress", daemon=True)
    ticker.start()
    try:
        yield
    finally:
        ended.set()
        ticker.join()
        line.clear()
        _shown.step = before


def part(name: str) -> None:
    """Set the name of the current step's current part, such as "model.int8.onnx"."""
    if _shown.step:
        _shown.step.part, _shown.step.counts = name, ""


def count(done: int, total: int, unit: str) -> None:
    """Set how many of the current step's images, graphs or requests are done."""
    if _shown.step:
        _shown.step.counts = f"{done:,} of {total:,} {unit}"


def _tick(line: LiveLine, step: _Step, ended: threading.Event) -> None:
    while True:
        with _shown.lock:
            if not ended.is_set():
                line.show(str(step))
        if ended.wait(_TICK_SECONDS):
            return
