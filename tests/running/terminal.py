"""A terminal for tests: runs a program on a pseudo-terminal and keeps what a user would see."""

import codecs
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from typing import Self

# A control sequence (its parameters and its letter), or one other character.
_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b[^\[]|(.)", re.DOTALL)
# The start of a sequence whose end has not been read yet.
_UNFINISHED = re.compile(r"\x1b(\[[0-9;?]*)?$")


class Screen:
    """The characters on a terminal's normal and alternate screen.

    Attributes:
        is_alternate: Whether the alternate screen is shown.
        shows_cursor: Whether the cursor is shown.
        last_alternate: Text of the alternate screen when it was left; empty before.
    """

    def __init__(self, columns: int, lines: int) -> None:
        """Start with empty screens."""
        self.columns, self.lines = columns, lines
        self.is_alternate = False
        self.shows_cursor = True
        self.last_alternate = ""
        self._normal = [""]
        self._alternate = [""] * lines
        self._row = self._column = 0
        self._rest = ""

    @property
    def rows(self) -> list[str]:
        """The lines of the screen that is shown; the normal one has those that scrolled away."""
        shown = self._alternate if self.is_alternate else self._normal
        return [row.rstrip() for row in shown]

    @property
    def text(self) -> str:
        """The rows as one text."""
        return "\n".join(self.rows)

    @property
    def normal_text(self) -> str:
        """The text of the normal screen, also while the alternate one is shown."""
        return "\n".join(row.rstrip() for row in self._normal)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size; what does not fit on the alternate screen is lost."""
        self.columns, self.lines = columns, lines
        rows = [row[:columns] for row in self._alternate[:lines]]
        self._alternate = rows + [""] * (lines - len(rows))

    def feed(self, text: str) -> None:
        """Take in output of the program."""
        text = self._rest + text
        unfinished = _UNFINISHED.search(text)
        self._rest = unfinished.group() if unfinished else ""
        for found in _TOKEN.finditer(text[: len(text) - len(self._rest)]):
            parameters, letter, character = found.groups()
            if letter:
                self._control(parameters, letter)
            elif character:
                self._character(character)

    def _control(self, parameters: str, letter: str) -> None:
        if parameters == "?1049":
            if self.is_alternate:
                self.last_alternate = self.text
            self.is_alternate = letter == "h"
            self._alternate = [""] * self.lines
            self._row, self._column = (0, 0) if self.is_alternate else (len(self._normal) - 1, 0)
        elif parameters == "?25":
            self.shows_cursor = letter == "h"
        elif letter == "H":
            row, _, column = parameters.partition(";")
            self._row, self._column = int(row or 1) - 1, int(column or 1) - 1
        elif letter == "J":
            self._alternate = [""] * self.lines
        elif letter != "m":  # colours
            msg = f"control sequence {parameters}{letter} received, expected one that is known here"
            raise ValueError(msg)

    def _character(self, character: str) -> None:
        rows = self._alternate if self.is_alternate else self._normal
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row += 1
            if self._row == len(rows):
                rows.append("")
                if self.is_alternate:
                    del rows[0]
                    self._row -= 1
        elif character == "\x07":
            pass
        else:
            if self._column == self.columns:
                self._column = 0
                self._character("\n")
            row = rows[self._row].ljust(self._column)
            rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
            self._column += 1


class Terminal:
    """A program on a pseudo-terminal; used as a context manager.

    Attributes:
        screen: What a user sees.
        process: The program.
    """

    def __init__(
        self, command: Sequence[str], *, columns: int = 80, lines: int = 24, **environment: str
    ) -> None:
        """Start the program, with the terminal as its three standard streams."""
        self.screen = Screen(columns, lines)
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._reader, writer = pty.openpty()
        self._set_size(columns, lines)
        known = {name: value for name, value in os.environ.items() if name not in _SIZES}
        self.process = subprocess.Popen(
            command,
            stdin=writer,
            stdout=writer,
            stderr=writer,
            env=known | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"} | environment,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - only system calls
        )
        os.close(writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the terminal."""
        self.screen.resize(columns, lines)
        self._set_size(columns, lines)

    def press(self, keys: bytes) -> None:
        """Type: byte 3 for Ctrl-C."""
        os.write(self._reader, keys)

    def hang_up(self) -> None:
        """Close the terminal, as its window does."""
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1

    def wait_for(self, condition: str | Callable[[Screen], bool], seconds: float = 60) -> Screen:
        """Read until a pattern is on the screen, or a condition holds; return the screen.

        Raises:
            TimeoutError: it did not come; the screen is quoted.
        """
        if isinstance(condition, str):
            pattern = re.compile(condition)

            def holds(screen: Screen) -> bool:
                return pattern.search(screen.text) is not None

        else:
            holds = condition
        until = time.monotonic() + seconds
        while not holds(self.screen):
            if time.monotonic() > until or not self.read():
                msg = f"{condition} is not on the screen:\n{self.screen.text}"
                raise TimeoutError(msg)
        return self.screen

    def wait(self, seconds: float = 60) -> int:
        """Read until the program ends and return its exit code."""
        until = time.monotonic() + seconds
        while self.read() and time.monotonic() < until:
            pass
        return self.process.wait(max(0.1, until - time.monotonic()))

    def read(self) -> bool:
        """Read what comes within a moment; return False once the program has closed its end."""
        readable, _, _ = select.select([self._reader], [], [], 0.2)
        if readable:
            with contextlib.suppress(OSError):  # EIO: nobody has the terminal open
                if content := os.read(self._reader, 65536):
                    self.screen.feed(self._decode(content))
                    return True
            return False
        return True

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._reader, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


_SIZES = ("COLUMNS", "LINES", "NO_COLOR")


def _take_terminal() -> None:
    """Make the terminal at standard input the one that controls the program, for its signals."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
