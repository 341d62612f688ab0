"""Where the time of one request went, for callers that ask.

A call with the metadata (or HTTP header) `x-server-timing: 1` is answered with `server-timing` in
its trailing metadata (or HTTP headers)::

    queue;dur=0.112, compute;dur=1.934, total;dur=2.251

All in milliseconds: waiting for a worker, running in a batch, and everything between the arrival of
the headers and the finished answer. The syntax is that of the W3C's Server-Timing header, which
browsers show. The stages find their request through a context variable, so that nothing has to be
handed through for the calls that did not ask: those pay for one look-up.
"""

import time
from collections.abc import Mapping
from contextvars import ContextVar

REQUEST_HEADER = b"x-server-timing"
RESPONSE_HEADER = b"server-timing"


class StageTimes:
    """Points in time of one request, as `time.monotonic()`, and what it waited for.

    Attributes:
        queued: The request, or the first part of a large one, began to wait; None: it never did.
        started: The model began to run on any of it.
        ended: The model was done with all of it.
        servable: `name/version` of the model that it was queued for; empty: it never was.
        signature_name: The signature of it.
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
        """Note a run; a large request has several, which may overlap."""
        self.started = started if self.started is None else min(self.started, started)
        self.ended = ended if self.ended is None else max(self.ended, ended)

    def header(self) -> tuple[bytes, bytes]:
        """The header for the answer; to be asked for when that is finished."""
        queue = compute = 0.0
        if self.queued is not None and self.started is not None and self.ended is not None:
            queue, compute = self.started - self.queued, self.ended - self.started
        stages = {"queue": queue, "compute": compute, "total": time.monotonic() - self._arrived}
        value = ", ".join(f"{stage};dur={1000 * seconds:.3f}" for stage, seconds in stages.items())
        return RESPONSE_HEADER, value.encode()


CURRENT: ContextVar[StageTimes | None] = ContextVar("stage_times", default=None)


def begin(headers: Mapping[bytes, bytes]) -> StageTimes | None:
    """Start the clock of the request that this task answers, if its headers ask for that."""
    if headers.get(REQUEST_HEADER) != b"1":
        return None
    times = StageTimes()
    CURRENT.set(times)
    return times
