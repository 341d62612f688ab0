"""The progress of a run on standard error: one changing line on a terminal, or lines in a log."""

import sys
from typing import TextIO

from loadtest.load.plan import Progress
from training.live_line import LiveLine

_LOG_SECONDS = (1.0, 5.0)  # time of the first line, early to show that it works, and the interval


class ProgressLine:
    """Shows progress on a terminal or in a log."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        """Start counting.

        Args:
            stream: Stream to write to; on a terminal one line is overwritten.
        """
        self._stream = stream
        first, interval = _LOG_SECONDS
        self._line = LiveLine(stream, first_seconds=first, log_seconds=interval)
        self._before = (0.0, 0)

    @property
    def seconds(self) -> float:
        """Time since the counts began, in seconds."""
        return self._line.seconds

    def show(self, progress: Progress, figures: str = "") -> None:
        """Print progress: every call on a terminal, every 5 s into a log.

        Args:
            progress: The counts.
            figures: Text about the answers so far; empty if there is none.
        """
        if not self._line.is_due():
            return
        seconds = self._line.seconds
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
        self._line.show(f"{text}, {figures}" if figures else text)

    def note(self, text: str) -> None:
        """Print a permanent line and restart the progress below it."""
        self.end()
        self._stream.write(f"{text}\n")
        self._stream.flush()
        self.restart()

    def restart(self) -> None:
        """Begin the counts again, for the next run."""
        self._line.restart()
        self._before = (0.0, 0)

    def end(self) -> None:
        """End the overwritten line with a newline."""
        self._line.end()
