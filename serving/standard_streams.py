"""Opens standard streams that are closed when a program starts, as after `2>&-` in a shell.

The next file or socket that the program opened would take the free number, and a library that
writes to standard error would write into it. Python sets `sys.stderr` to None.

The packages training and serving import nothing from each other, so each has this module; a test
checks that the two files are the same.
"""

import os
import sys
from pathlib import Path


def open_closed() -> None:
    """Open the null device in place of each closed standard stream; call this first of all."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, descriptor)  # the copy is left to child processes, too
            if opened != descriptor:
                os.close(opened)
        mode = "r" if name == "stdin" else "w"
        setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - stays open
