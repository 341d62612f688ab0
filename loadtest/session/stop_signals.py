"""The signals that end a run early, with a report on what was measured until then."""

import contextlib
import errno
import os
import signal
import sys
import termios


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
