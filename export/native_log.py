"""Filter TensorFlow's start-up messages: drop the ones that say nothing about an export.

TensorFlow's C++ core writes to file descriptor 2 that it uses oneDNN and found no CUDA driver.
TensorFlow 2.21 writes these lines before it reads `TF_CPP_MIN_LOG_LEVEL`, and a filter on
`sys.stderr` does not see them.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_BANNERS = ("All log messages before absl::InitializeLog()", "failed call to cuInit")


def is_noise(line: str) -> bool:
    """Return whether a line is informational (`I0000 ...`) or one of the start-up banners."""
    return line.startswith("I0000 ") or any(banner in line for banner in _BANNERS)


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back the block's output to file descriptor 2; afterwards write all of it but noise.

    Warnings, errors and Python's own output are written even if the block raises.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            held_back.seek(0)
            for line in held_back.read().decode(errors="replace").splitlines(keepends=True):
                if not is_noise(line):
                    sys.stderr.write(line)
