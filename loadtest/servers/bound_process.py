"""A program that ends with the process that started it, also if that one is killed.

    python -m loadtest.servers.bound_process PARENT_PID PROGRAM [ARGUMENT ...]

asks Linux to send this process SIGTERM when its parent ends (PR_SET_PDEATHSIG), and becomes the
program, which keeps the request. SIGTERM lets a server stop its workers and remove its files.
Linux takes the end of the thread that started the process for the end of the parent. Systems other
than Linux have no such request; there the program outlives a parent that is killed.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def command(program: Sequence[str]) -> list[str]:
    """Return the command line that starts a program which ends with this process.

    Start it in the main thread, or in one that lives as long as the program.
    """
    return [sys.executable, "-m", __name__, str(os.getpid()), *program]


def main(arguments: Sequence[str]) -> None:
    """Bind this process to its parent and become the program; see the module."""
    parent, *program = arguments
    # A parent that ignores SIGTERM has children that ignore it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != int(parent):  # the parent ended before the request
            return
    os.execv(program[0], program)  # noqa: S606 - the load test's own command line


if __name__ == "__main__":
    main(sys.argv[1:])
