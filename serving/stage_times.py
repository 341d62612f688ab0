"""Stage times of one request: time in the queue, time of the run and total time.

A call with the metadata (or HTTP header) `x-server-timing: 1` is answered with `server-timing` in
its trailing metadata (or HTTP headers)::

    queue;dur=0.112, compute;dur=1.934, total;dur=2.251

All times are in milliseconds. `queue` is the wait for a worker thread, `compute` is the run of the
batch, and `total` is the time from the arrival of the headers to the finished answer. The syntax is
that of the W3C's Server-Timing header, which browsers display. A context variable carries the stage
times, so that they need not be passed as an argument; a call without the header costs only one
look-up of the variable.
"""

import time
from collections.abc import Mapping
from contextvars import ContextVar

REQUEST_HEADER = b"x-server-timing"
RESPONSE_HEADER = b"server-timing"


class StageTimes:
    """Points in time of one request, as `time.monotonic()`, and the signature it was queued for.

    Attributes:
        queued: When the request, or the first part of a split one, was queued; None: never.
        started: When its first run started; None: no run has ended.
        ended: When its last run ended; None: no run has ended.
        servable: `name/version` of the servable; empty if the request was never queued.
        signature_name: Name of the signature; empty if the request was never queued.
    """

    __slots__ = ("_arrived", "ended", "queued", "servable", "signature_name", "started")

    def __init__(self) -> None:
        self._arrived = time.monotonic()
        self.queued: float | None = None
        self.started: float | None = None
        self.ended: float | None = None
        self.servable = ""
        self.signature_name = ""

    def ran(self, started: float, ended: float) -> None:
        """Record a run; a split request has several, which may overlap.

        Args:
            started: `time.monotonic()` before the run.
            ended: `time.monotonic()` after the run.
        """
        self.started = started if self.started is None else min(self.started, started)
        self.ended = ended if self.ended is None else max(self.ended, ended)

    def header(self) -> tuple[bytes, bytes]:
        """Return name and value of the answer's header; call it when the answer is finished."""
        queue = compute = 0.0
        if self.queued is not None and self.started is not None and self.ended is not None:
            queue, compute = self.started - self.queued, self.ended - self.started
        stages = {"queue": queue, "compute": compute, "total": time.monotonic() - self._arrived}
        value = ", ".join(f"{stage};dur={1000 * seconds:.3f}" for stage, seconds in stages.items())
        return RESPONSE_HEADER, value.encode()


CURRENT: ContextVar[StageTimes | None] = ContextVar("stage_times", default=None)


def begin(headers: Mapping[bytes, bytes]) -> StageTimes | None:
    """Start the stage times of this task's request, if its headers ask for them.

    Returns:
        The stage times, which are also set in `CURRENT`; None if the caller did not ask.
    """
    if headers.get(REQUEST_HEADER) != b"1":
        return None
    times = StageTimes()
    CURRENT.set(times)
    return times
