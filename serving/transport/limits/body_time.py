"""The time that a request's body may take, proportionate to its size.

The web server ends a body that pauses for too long. A byte every other second is no pause, and
would hold a place among the streams for years.
"""

import time

from serving.errors import DeadlineExceeded

_GRACE_SECONDS = 60.0
_LEAST_BYTES_PER_SECOND = 32 * 1024


class BodyTime:
    """Times one body, or one message of a stream, from its first piece on."""

    __slots__ = ("_began", "_bytes")

    def __init__(self, count: int) -> None:
        """Begin with a piece that is not the last one.

        Args:
            count: Its bytes.
        """
        self._began = time.monotonic()
        self._bytes = count

    def check(self, count: int) -> None:
        """Count a further piece that is not the last one.

        Args:
            count: Its bytes.

        Raises:
            DeadlineExceeded: so few bytes should not have taken so long.
        """
        now = time.monotonic()
        self._bytes += count
        if now - self._began > _GRACE_SECONDS + self._bytes / _LEAST_BYTES_PER_SECOND:
            msg = (
                f"{self._bytes} bytes of the request took {now - self._began:.0f} s, expected "
                f"{_LEAST_BYTES_PER_SECOND} bytes a second after the first {_GRACE_SECONDS:.0f} s; "
                "send it faster"
            )
            raise DeadlineExceeded(msg)
