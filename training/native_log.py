"""Hides TensorFlow's start-up notes, which say nothing about the work; its errors are shown.

TensorFlow's C++ core writes to file descriptor 2 that it uses oneDNN and found no CUDA driver. It
writes these lines before it reads `TF_CPP_MIN_LOG_LEVEL`, and a filter on `sys.stderr` does not see
them. The levels 0 and 1 in that variable show everything.

The packages training and serving import nothing from each other, so each has this module; a test
checks that the two files are the same.
"""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_ONLY_ERRORS = "2"
# Informational lines: "I0000 00:00:1795715405.016601 ...", or "2026-11-26 18:00:00.123: I ...".
_NOTE = re.compile(rb"I\d{4} |\d{4}-\d\d-\d\d [\d:.]+: I ")
_NOISE = (
    b"All log messages before absl::InitializeLog()",
    b"To enable the following instructions:",  # the second line of a note about the CPU
    b"Unable to register cu",  # cuDNN, cuFFT and cuBLAS are registered twice: harmless
    b"computation placer already registered",
    b"TF-TRT Warning: Could not find TensorRT",
)
_NO_CUDA = b"failed call to cuInit"
_GPUS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
_END = b"\0the filter ends here\n"


def is_noise(line: bytes) -> bool:
    """Return whether a line is a start-up note.

    The failure to start CUDA is a note only if there is no GPU, or if no GPU is to be used.
    """
    if _NO_CUDA in line:
        unused = os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}
        return unused or not any(device.exists() for device in _GPUS)
    return _NOTE.match(line) is not None or any(text in line for text in _NOISE)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the start-up notes from what the block writes to file descriptor 2.

    Everything else is written at once, also what other threads and child processes write. Sets
    TensorFlow's log level to errors only, unless the environment has another one.
    """
    if os.environ.setdefault(_LEVEL, _ONLY_ERRORS) in {"0", "1"}:
        yield
        return
    sys.stderr.flush()
    original = os.dup(2)
    reader, writer = os.pipe()
    ended = threading.Event()
    threading.Thread(
        target=_forward, args=(reader, original, ended), name="native log", daemon=True
    ).start()
    os.dup2(writer, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(original, 2)
        os.write(writer, _END)
        os.close(writer)
        ended.wait()


def _forward(reader: int, original: int, ended: threading.Event) -> None:
    """Copy lines that are no noise until the pipe is closed.

    A child process that was started in the block may keep the pipe open after the block.
    """
    held = b""
    while data := os.read(reader, 1 << 16):
        held += data
        before, end, after = held.partition(_END)
        *lines, rest = before.splitlines(keepends=True) or [b""]
        if rest.endswith(b"\n") or end:
            lines, rest = [*lines, rest], b""
        for line in lines:
            if not is_noise(line):
                _write(original, line)
        held = rest + after
        if end:
            ended.set()
    _write(original, held)
    os.close(reader)
    os.close(original)


def _write(original: int, data: bytes) -> None:
    while data:
        data = data[os.write(original, data) :]
