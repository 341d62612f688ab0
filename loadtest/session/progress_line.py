"""The progress of a run on standard error: one changing line on a terminal, or lines in a log."""

import sys
import time
from typing import TextIO

from loadtest.load.plan import Progress

_LOG_SECONDS = (1.0, 5.0)  # time of the first line, early to show that it works, and the interval


class ProgressLine:
    """Shows progress on a terminal or in a log."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        """Start counting.

        Args:
            stream: Stream to write to; on a terminal one line is overwritten.
        """
        self._stream = stream
        self._terminal = stream.isatty()
        self._started = time.monotonic()
        self._next = _LOG_SECONDS[0]
        self._before = (0.0, 0)
        self._width = 0

    def show(self, progress: Progress) -> None:
        """Print progress: every call on a terminal, every 5 s into a log."""
        seconds = time.monotonic() - self._started
        if not self._terminal and seconds < self._next:
            return
        self._next = seconds + _LOG_SECONDS[1]
        passed, finished = seconds - self._before[0], progress.finished - self._before[1]
        self._before = (seconds, progress.finished)
        text = f"{seconds:.0f} s: "
        if not (progress.finished or progress.in_flight or progress.missed):
            text += "warming up"
        else:
            text += f"{progress.finished:,} requests finished"
            if passed > 0:
                text += f", {finished / passed:,.0f}/s"
            text += f", {progress.in_flight:,} under way"
        for count, word in ((progress.failed, "failed"), (progress.missed, "missed")):
            if count:
                text += f", {count:,} {word}"
        if self._terminal:
            # Spaces overwrite the rest of a longer previous line.
            self._stream.write(f"\r{text:<{self._width}}")
            self._width = len(text)
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def note(self, text: str) -> None:
        """Print a permanent line and restart the progress below it."""
        self.end()
        self._stream.write(f"{text}\n")
        self._stream.flush()
        self._started = time.monotonic()
        self._next = _LOG_SECONDS[0]
        self._before = (0.0, 0)

    def end(self) -> None:
        """End the overwritten line with a newline."""
        if self._terminal and self._width:
            self._stream.write("\n")
            self._stream.flush()
        self._width = 0
