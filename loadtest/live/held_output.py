"""Output of this process and its children, held back while a full screen is shown."""

import contextlib
import os
import sys
import tempfile
from typing import TextIO

# Leaves the alternate screen and shows the cursor.
_RESTORE = "\x1b[?1049l\x1b[?25h"


def is_capable(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that can show a full screen.

    NO_COLOR (no-color.org) and TERM=dumb ask for plain lines.
    """
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in {"", "dumb", "unknown"}
    return not plain and stream.isatty()


class HeldOutput:
    """Holds back output that would garble a screen: log lines, warnings, messages of libraries.

    Standard output and standard error lead to a file as long as they are terminals otherwise;
    `release` writes the file's content to the terminal. Child processes that start meanwhile
    inherit the file.

    Attributes:
        terminal: Descriptor of the terminal.
        file: Descriptor of the file.
    """

    def __init__(self, stream: TextIO) -> None:
        """Hold output back from now on.

        Args:
            stream: The stream, a terminal, that the screen is shown on.
        """
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `release` closes it
        self._kept: dict[int, int] = {}
        self.file = self._file.fileno()
        self.terminal = os.dup(stream.fileno())
        for each in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor
                each.flush()
                number = each.fileno()
                if os.isatty(number):
                    self._kept[number] = os.dup(number)
                    os.dup2(self.file, number)

    def restore_terminal(self) -> None:
        """Leave the screen in place of a view that ended without doing so."""
        with contextlib.suppress(OSError):  # the terminal is closed
            os.write(self.terminal, _RESTORE.encode())

    def release(self) -> None:
        """Lead the streams to the terminal again, and write what was held back."""
        for each in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                each.flush()
        for number, terminal in self._kept.items():
            os.dup2(terminal, number)
            os.close(terminal)
        self._kept = {}
        with contextlib.suppress(OSError):
            write_held(self.file, self.terminal)
        os.close(self.terminal)
        self._file.close()


def write_held(file: int, terminal: int) -> None:
    """Copy the content of a file to a terminal; both are descriptors.

    Raises:
        OSError: The terminal is closed.
    """
    position = 0
    while content := os.pread(file, 1 << 16, position):
        position += len(content)
        while content:
            content = content[os.write(terminal, content) :]
