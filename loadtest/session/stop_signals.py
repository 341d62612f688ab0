"""The signals that end a run early, with a report on what was measured until then."""

import contextlib
import errno
import os
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from types import FrameType


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return SIGINT, SIGTERM and SIGHUP, which comes when the terminal closes.

    SIGHUP is left out if this process ignores it: `nohup` lets a run outlive its terminal.
    """
    handled = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if handled else []))


def leave_closed_terminal() -> None:
    """Discard further output to a terminal that is closed; else it would fail, and the report too.

    Output to files, pipes and open terminals stays as it is.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor, or closed
            descriptor = stream.fileno()
            try:
                termios.tcgetattr(descriptor)
            except termios.error as error:
                if error.args[0] == errno.EIO:
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, descriptor)
                    os.close(nowhere)


@contextlib.contextmanager
def handled(stop: Callable[[str], None]) -> Iterator[None]:
    """Handle the stop signals while the context is open, and restore their handlers afterwards.

    This is for a program whose main thread runs no event loop.

    Args:
        stop: Called in the main thread with the reason, such as "interrupted by SIGINT".
    """
    previous = {number: signal.getsignal(number) for number in stop_signals()}
    listen(stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def listen(stop: Callable[[str], None]) -> None:
    """Handle the stop signals from now on; see `handled`."""

    def handle(number: int, _frame: FrameType | None) -> None:
        leave_closed_terminal()
        stop(stop_reason(number))

    for number in stop_signals():
        signal.signal(number, handle)


def stop_reason(number: int) -> str:
    """Return why a signal ended a run, as reports give it: "interrupted by SIGINT"."""
    return f"interrupted by {signal.Signals(number).name}"
