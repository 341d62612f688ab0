"""A time limit for the arrival of a request's body, proportional to the size of the body.

The web server ends a request whose body pauses for too long. A client that sends a byte every other
second never pauses that long, and could keep its stream open for years.
"""

import time

from serving.errors import DeadlineExceeded

_GRACE_SECONDS = 60.0
_LEAST_BYTES_PER_SECOND = 32 * 1024


class BodyTime:
    """Measures how long one body, or one message of a stream, takes from its first piece on."""

    __slots__ = ("_began", "_bytes")

    def __init__(self, count: int) -> None:
        """Start the clock at the first piece of a body that has several pieces.

        Args:
            count: Size of the piece in bytes.
        """
        self._began = time.monotonic()
        self._bytes = count

    def check(self, count: int) -> None:
        """Count a further piece; call this for every piece except the last one.

        Args:
            count: Size of the piece in bytes.

        Raises:
            DeadlineExceeded: the bytes received so far took longer than the limit.
        """
        now = time.monotonic()
        self._bytes += count
        if now - self._began > _GRACE_SECONDS + self._bytes / _LEAST_BYTES_PER_SECOND:
            msg = (
                f"{self._bytes} bytes of the request took {now - self._began:.0f} s, expected "
                f"{_LEAST_BYTES_PER_SECOND} bytes a second after the first {_GRACE_SECONDS:.0f} s; "
                "send the request faster"
            )
            raise DeadlineExceeded(msg)
