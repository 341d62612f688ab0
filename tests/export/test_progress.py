import contextlib
import io
import logging
import re
import time

import pytest

from export import progress
from export.__main__ import main
from export.publishing.new_version import step


class Terminal(io.StringIO):
    """A stream whose isatty() is True."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.fixture
def shown_on(monkeypatch):
    """Return a function that starts the progress on a stream and sends the log to it."""
    monkeypatch.setattr(progress, "_TICK_SECONDS", 0.01)
    logger = logging.getLogger("export")
    monkeypatch.setattr(logger, "level", logging.INFO)
    monkeypatch.setattr(logger, "disabled", False)  # libraries disable the loggers that exist
    with contextlib.ExitStack() as stack:

        def start(stream):
            monkeypatch.setattr(logger, "handlers", [progress.LogHandler(stream)])
            stack.enter_context(progress.shown_on(stream))
            return stream

        yield start


def test_a_command_leaves_nothing_behind(capsys):
    """After a command, later steps of the process write nothing to its stream."""
    before = logging.getLogger("export").handlers

    assert main(["prove-rows", "/nowhere/at/all"]) == 2

    assert progress._shown.line is None
    assert logging.getLogger("export").handlers is before


def wait_for(stream, pattern):
    """Wait until the stream has a text that matches the pattern; a thread writes it."""
    while not re.search(pattern, stream.getvalue()):
        time.sleep(0.005)


def test_a_terminal_shows_a_step_while_it_runs(shown_on):
    """The line names step, part and counts, and is removed when the step's time is logged."""
    stream = shown_on(Terminal())
    with step("asking Keras"):
        wait_for(stream, r"\rasking Keras: \d+ s so far")
        progress.part("model.onnx")
        progress.count(1_500, 10_000, "images")
        wait_for(stream, r"\rasking Keras: model\.onnx, 1,500 of 10,000 images, \d+ s so far")

    last = stream.getvalue().rsplit("\r", 1)[-1]
    assert re.fullmatch(r"asking Keras: \d\.\d s\n", last)


def test_a_log_gets_lines_of_long_steps_only(shown_on, monkeypatch):
    """A short step gets one line at its end; a long step also gets lines while it runs."""
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.5)
    stream = shown_on(io.StringIO())
    with step("a short step"):
        pass
    with step("a long step"):
        wait_for(stream, r"a long step: \d+ s so far\n")

    lines = stream.getvalue().splitlines()
    assert re.fullmatch(r"a short step: 0\.\d s", lines[0])
    assert re.fullmatch(r"a long step: \d+ s so far", lines[1])
    assert "\r" not in stream.getvalue()


def test_log_records_replace_the_line(shown_on):
    """A log record during a step replaces the step's line."""
    stream = shown_on(Terminal())
    with step("making"):
        wait_for(stream, r"\rmaking: \d+ s so far")
        logging.getLogger("export").info("model.w8.onnx: fine")

    assert "\rmodel.w8.onnx: fine\n" in stream.getvalue()


def test_a_failed_step_leaves_an_empty_line(shown_on):
    """After an error the line is removed, and no time is logged."""
    stream = shown_on(Terminal())

    def fail():
        wait_for(stream, r"\rfailing: \d+ s so far")
        raise RuntimeError

    with pytest.raises(RuntimeError), step("failing"):
        fail()

    assert re.search(r"\r +\r$", stream.getvalue())


def test_a_library_call_shows_nothing(monkeypatch):
    """If no command has called `start`, nothing is shown, and the gates' calls do nothing."""
    monkeypatch.setattr(progress._shown, "line", None)
    with progress.during("a step"):
        progress.part("a part")
        progress.count(1, 2, "images")

    assert progress._shown.step is None
