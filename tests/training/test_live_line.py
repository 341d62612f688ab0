import fcntl
import io
import os
import pty
import struct
import termios
from types import SimpleNamespace

import pytest

from training import live_line
from training.live_line import LiveLine


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock; the test sets the time."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(live_line, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_a_log_gets_its_first_line_early_and_then_one_in_each_interval(clock):
    """A log gets a line early and then one in each interval; texts in between are dropped."""
    stream = io.StringIO()
    line = LiveLine(stream, first_seconds=1, log_seconds=5)
    for second in range(13):
        clock.seconds = second
        line.show(f"at {second} s")
    line.clear()
    line.end()

    assert stream.getvalue().splitlines() == ["at 1 s", "at 6 s", "at 11 s"]


def test_a_restart_begins_the_intervals_again(clock):
    """After a restart the first line is written early again."""
    stream = io.StringIO()
    line = LiveLine(stream, first_seconds=1, log_seconds=5)
    clock.seconds = 1
    line.show("first")
    line.restart()
    clock.seconds = 2
    line.show("second")

    assert stream.getvalue().splitlines() == ["first", "second"]


def test_a_terminal_is_overwritten_and_not_filled():
    """A line is cut to the terminal's width, because a wrapped line cannot be overwritten."""
    reader, writer = pty.openpty()
    written = ""
    with os.fdopen(writer, "w") as stream:
        rows_and_columns = struct.pack("HHHH", 5, 20, 0, 0)
        fcntl.ioctl(writer, termios.TIOCSWINSZ, rows_and_columns)
        line = LiveLine(stream, first_seconds=1, log_seconds=5)
        line.show("a text that is longer than the terminal")
        line.show("short")
        line.clear()
        # One read of a terminal may return less than was written to it.
        while written.count("\r") < 4:
            written += os.read(reader, 1000).decode()
    os.close(reader)

    assert written.split("\r") == ["", "a text that is long", "short" + 14 * " ", 5 * " ", ""]
