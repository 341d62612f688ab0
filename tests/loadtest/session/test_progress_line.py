import io
from types import SimpleNamespace

import pytest

from loadtest.load.plan import Progress
from loadtest.session.progress_line import ProgressLine
from training import live_line


class Terminal(io.StringIO):
    """A stream whose isatty() is True."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(live_line, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_a_terminal_sees_one_line_that_is_written_over(clock):
    """A shorter line overwrites a longer one completely, and the last line ends with a newline."""
    stream = Terminal()
    line = ProgressLine(stream)
    for seconds, counts in ((1, Progress(1_000, 1, 0, 32)), (2, Progress(3_000, 1, 0, 5))):
        clock.seconds = seconds
        line.show(counts)
    line.end()

    first, second = stream.getvalue().split("\r")[1:]
    assert first == "1 s: 1,000 requests finished, 1,000/s, 32 under way, 1 failed"
    assert second.rstrip() == "2 s: 3,000 requests finished, 2,000/s, 5 under way, 1 failed"
    assert len(second.rstrip("\n")) == len(first)
    assert second.endswith("\n")


def test_a_log_gets_a_line_now_and_then(clock):
    """A log gets its first line after one second, and then one every five seconds."""
    stream = io.StringIO()
    line = ProgressLine(stream)
    for tick in range(1, 45):
        clock.seconds = tick / 4
        line.show(Progress(finished=tick, in_flight=1, missed=2))
    line.end()

    lines = stream.getvalue().splitlines()
    assert [text.partition(":")[0] for text in lines] == ["1 s", "6 s", "11 s"]
    assert lines[1] == "6 s: 24 requests finished, 4/s, 1 under way, 2 missed"


def test_before_the_first_timed_request_it_warms_up(clock):
    """Before the first timed request the line says "warming up"."""
    stream = io.StringIO()
    line = ProgressLine(stream)
    clock.seconds = 2
    line.show(Progress())

    assert stream.getvalue() == "2 s: warming up\n"


def test_a_note_stays_and_counts_begin_again(clock):
    """A note is a permanent line, and the progress below it starts at 0."""
    stream = Terminal()
    line = ProgressLine(stream)
    clock.seconds = 3
    line.show(Progress(finished=10, in_flight=1))
    line.note("next step")
    clock.seconds = 4
    line.show(Progress(finished=7, in_flight=1))

    assert stream.getvalue().splitlines() == [
        "",
        "3 s: 10 requests finished, 3/s, 1 under way",
        "next step",
        "",
        "1 s: 7 requests finished, 7/s, 1 under way",
    ]
