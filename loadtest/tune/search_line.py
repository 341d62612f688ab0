"""The progress of a search on standard error: its rounds as lines, its measurements as one line."""

import sys
from typing import TextIO

from loadtest.tune.halving import Round
from training.live_line import LiveLine

_LOG_SECONDS = (1.0, 10.0)  # time of the first line in a log, and the interval
# Cells of a round that are shown.
_SHOWN = 3


class SearchLine:
    """Shows a search on a terminal or in a log."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        """Start the clock.

        Args:
            stream: Stream to write to; on a terminal one line is overwritten.
        """
        self._stream = stream
        first, interval = _LOG_SECONDS
        self._line = LiveLine(stream, first_seconds=first, log_seconds=interval)
        self._prefix = ""

    def show(self, text: str) -> None:
        """Show what is measured now, for example the number of a cell and its flags."""
        self._line.show(f"{self._line.seconds:.0f} s: {self._prefix}{text}")

    def begin(self, what: str) -> None:
        """Set the words before every text to show, such as the number of the round."""
        self._prefix = what

    def note(self, text: str) -> None:
        """Print a permanent line."""
        self._line.clear()
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def round(self, number: int, finished: Round) -> None:
        """Print a finished round: what was measured, and the best cells.

        Args:
            number: Number of the round, from 1.
            finished: The round.
        """
        turns = f"{finished.turns} turn{'s' if finished.turns > 1 else ''}"
        self.note(
            f"round {number}: {len(finished.cells)} cells, {turns} of {finished.seconds:.1f} s, "
            f"{len(finished.kept)} kept{'; the best:' if finished.means else ''}"
        )
        for cell in list(finished.means)[:_SHOWN]:
            self.note(f"  {finished.means[cell]:9,.1f}/s  {cell}")
        self.begin(f"round {number + 1}, ")

    def end(self) -> None:
        """End the overwritten line."""
        self._line.clear()
