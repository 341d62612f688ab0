"""A line that shows progress: overwritten on a terminal, written now and then into a log."""

import os
import time
from typing import TextIO


class LiveLine:
    """Shows the newest text about work that is under way.

    A terminal shows one line, which is overwritten. A log or a pipe gets lines at intervals, the
    first one early, so that a reader sees that the work has begun.

    Attributes:
        is_on_terminal: Whether the stream is a terminal.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        first_seconds: float,
        log_seconds: float,
        terminal_seconds: float = 0.0,
    ) -> None:
        """Start the clock.

        Args:
            stream: Stream to write to.
            first_seconds: Time of the first line in a log, after the start of the clock.
            log_seconds: Shortest time between two lines in a log.
            terminal_seconds: Shortest time between two changes of the line on a terminal.
        """
        self._stream = stream
        self.is_on_terminal = stream.isatty()
        self._first = 0.0 if self.is_on_terminal else first_seconds
        self._interval = terminal_seconds if self.is_on_terminal else log_seconds
        self._width = 0
        self.restart()

    def restart(self) -> None:
        """Start the clock again, for the next piece of work."""
        self._began = time.monotonic()
        self._next = self._first

    @property
    def seconds(self) -> float:
        """Time since the start of the clock, in seconds."""
        return time.monotonic() - self._began

    def is_due(self) -> bool:
        """Return whether `show` would write now; callers need not make the text if not."""
        return self.seconds >= self._next

    def show(self, text: str, *, at_once: bool = False) -> None:
        """Write the text if the interval since the last one is over.

        Args:
            text: One line.
            at_once: Whether a terminal shows the text although the interval is not over, because
                the work that begins now may take long.
        """
        if not self.is_due() and not (at_once and self.is_on_terminal):
            return
        self._next = self.seconds + self._interval
        if self.is_on_terminal:
            # A text that wraps could not be overwritten. Spaces overwrite a longer previous text.
            text = text[: self._columns()]
            self._stream.write(f"\r{text:<{self._width}}")
            self._width = len(text)
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the line from a terminal, so that another line can be written in its place."""
        if self._width:
            self._stream.write(f"\r{'':<{self._width}}\r")
            self._stream.flush()
        self._width = 0

    def end(self) -> None:
        """Keep the line on a terminal and go to the next one."""
        if self._width:
            self._stream.write("\n")
            self._stream.flush()
        self._width = 0

    def _columns(self) -> int | None:
        """Return the number of characters that fit on the terminal's line; None if unknown."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            return None
        return columns - 1 if columns > 1 else None  # some terminals have no size: 0
