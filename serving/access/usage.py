"""The use that one caller makes of the server: its rate, and its calls in flight."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.errors import RateLimited

# When a call in flight may end is unknown: the time that a refused caller is asked to wait.
_IN_FLIGHT_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """The limits of one caller.

    Attributes:
        requests_per_second: Calls a second in the long run; None: no limit.
        burst: Calls that may come at once after a pause; None: those of one second, at least 1.
        in_flight: Calls at a time; None: no limit.
    """

    requests_per_second: float | None = None
    burst: float | None = None
    in_flight: int | None = None

    def share(self, workers: int) -> "RateLimits":
        """Return the limits of one of several worker processes; each lets at least one call in."""
        rate, most = self.requests_per_second, self.in_flight
        burst = self.burst if self.burst is not None or rate is None else max(1.0, rate)
        return RateLimits(
            requests_per_second=None if rate is None else rate / workers,
            burst=None if burst is None else max(1.0, burst / workers),
            in_flight=None if most is None else max(1, most // workers),
        )


class Usage:
    """Counts the calls of one caller in this process. Use it only from the event loop.

    The rate is that of a token bucket: it holds `burst` tokens, `requests_per_second` are added,
    and each call takes one.
    """

    def __init__(
        self, name: str, limits: RateLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with a full bucket and no call in flight.

        Args:
            name: The caller's name, for the messages.
            limits: The limits in this process, as `RateLimits.share` returns them.
            clock: Returns the time in seconds.
        """
        self.limits = limits
        self._name = name
        self._clock = clock
        self._rate = limits.requests_per_second
        self._burst = limits.burst if limits.burst is not None else 1.0
        self._most = limits.in_flight
        self._tokens = self._burst
        self._at = clock()
        self._in_flight = 0

    def enter(self) -> None:
        """Count a call; call `leave` when it has ended.

        Raises:
            RateLimited: the caller has too many calls in flight, or has used up its rate. The call
                is not counted.
        """
        if self._most is not None and self._in_flight >= self._most:
            msg = (
                f"{self._name} has {self._in_flight} calls in flight, expected at most "
                f"{self._most}; wait for answers, or ask the server's operator for more"
            )
            raise RateLimited(msg, retry_after_seconds=_IN_FLIGHT_SECONDS)
        rate = self._rate
        if rate is not None:
            now = self._clock()
            tokens = self._tokens + (now - self._at) * rate
            tokens = min(tokens, self._burst)
            self._at, self._tokens = now, tokens
            if tokens < 1:
                msg = (
                    f"{self._name} sends more than {rate:g} requests a second; send them more "
                    "slowly, or ask the server's operator for a higher rate"
                )
                raise RateLimited(msg, retry_after_seconds=(1 - tokens) / rate)
            self._tokens = tokens - 1
        self._in_flight += 1

    def leave(self) -> None:
        """Count the end of a call."""
        self._in_flight -= 1
