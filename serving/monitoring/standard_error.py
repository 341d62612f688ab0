"""Standard error that never waits for its reader.

A pipe holds 64 KiB. If its reader stops reading, the next write to a full pipe waits for ever, and
with it the event loop. `never_wait` replaces `sys.stderr`: while the pipe has room, lines are
written at once; otherwise a thread writes them later, and those beyond a limit are dropped and
counted.
"""

import contextlib
import io
import os
import select
import socket
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

_STDERR = 2
_MOST_WAITING_BYTES = 1 << 18
# Longest time for which the end of the process waits for a reader.
_FINISH_SECONDS = 0.5
# Time until the next try if nothing could be written although there seemed to be room.
_RETRY_SECONDS = 0.1


class PatientWriter(io.RawIOBase):
    """Writes to a pipe, socket or terminal without waiting for room in it."""

    def __init__(self, descriptor: int, *, most_waiting_bytes: int = _MOST_WAITING_BYTES) -> None:
        """Create a writer.

        Args:
            descriptor: The file descriptor. It keeps its flags, because other processes may share
                it: the writer opens the file again, without waiting.
            most_waiting_bytes: Most bytes that wait for room; what comes then is dropped.
        """
        self._descriptor = descriptor
        self._write_now, self._write_later = _ways(descriptor)
        self._most_waiting_bytes = most_waiting_bytes
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped_lines = 0
        self._is_gone = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether standard error is a terminal."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """Return the file descriptor, for child processes."""
        return self._descriptor

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Write all bytes now or later, or drop all of them; return their number."""
        rest = bytes(data)
        with self._changed:
            if self._write_now is not None and not self._waiting and not self._dropped_lines:
                rest = rest[self._try(self._write_now, rest) :]
            if not rest or self._is_gone:
                return len(data)
            # The rest of a line that is partly written is kept, however long it is.
            is_new = len(rest) == len(data)
            is_full = self._waiting_bytes + len(rest) > self._most_waiting_bytes
            if is_new and (is_full or self._dropped_lines):
                self._dropped_lines += max(1, rest.count(b"\n"))
            else:
                self._waiting.append(rest)
                self._waiting_bytes += len(rest)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._write_waiting, name="standard-error", daemon=True
                )
                self._thread.start()
        return len(data)

    def _try(self, write: Callable[[bytes], int], data: bytes) -> int:
        """Write as many bytes as there is room for; return their number."""
        try:
            return write(data)
        except BrokenPipeError:  # nobody can read it any more
            self._is_gone = True
            return 0
        except OSError:  # it is full: a pipe, or the disk of a file
            return 0

    def _write_waiting(self) -> None:
        """Write what waits until nothing is left."""
        while True:
            with self._changed:
                if not self._waiting and self._dropped_lines:
                    lines, self._dropped_lines = self._dropped_lines, 0
                    self._waiting.append(_note(lines))
                    self._waiting_bytes += len(self._waiting[0])
                if not self._waiting or self._is_gone:
                    self._waiting.clear()
                    self._waiting_bytes = 0
                    self._thread = None
                    self._changed.notify_all()
                    return
                data = self._waiting[0]
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
            written = self._try(self._write_later, data)
            if not written and not self._is_gone:
                time.sleep(_RETRY_SECONDS)
            with self._changed:
                self._waiting_bytes -= written
                if written < len(data):
                    self._waiting[0] = data[written:]
                else:
                    self._waiting.popleft()

    def finish(self, seconds: float) -> None:
        """Return when nothing waits any more, or after a time."""
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None, seconds)


def _ways(descriptor: int) -> tuple[Callable[[bytes], int] | None, Callable[[bytes], int]]:
    """Return how to write to a file without waiting, None if that is impossible, and with waiting.

    A pipe or a terminal is opened again, which fails if it belongs to another user. All other files
    but sockets always have room, or fail.
    """

    def write(data: bytes) -> int:
        return os.write(descriptor, data)

    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        connection = socket.socket(fileno=os.dup(descriptor))
        return lambda data: connection.send(data, socket.MSG_DONTWAIT), write
    if not stat.S_ISFIFO(mode) and not os.isatty(descriptor):
        return write, write
    try:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
        again = os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:
        return None, write
    return lambda data: os.write(again, data), lambda data: os.write(again, data)


def _note(lines: int) -> bytes:
    return b"%d log lines were dropped, because nobody read standard error\n" % lines


def never_wait() -> None:
    """Replace `sys.stderr` by a stream whose writes do not wait for its reader."""
    writer = PatientWriter(_STDERR)
    sys.stderr = io.TextIOWrapper(
        writer, encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


def finish() -> None:
    """Give what waits a moment to be read; call this at the end of the process."""
    raw = getattr(sys.stderr, "buffer", None)
    if isinstance(raw, PatientWriter):
        with contextlib.suppress(ValueError):  # closed
            raw.finish(_FINISH_SECONDS)
