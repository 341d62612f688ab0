"""The runs that go on in this process, so that one which nobody waits for any more is ended.

A graph may run for hours: a Loop whose number of trips a caller sends, say. ONNX Runtime looks
between two nodes whether a run is to end; a single long node runs to its own end.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.engine.batching.request_queue import Request
from serving.errors import DeadlineExceeded

logger = logging.getLogger(__name__)

# Between two looks of `watch`.
LOOK_SECONDS = 0.25


class RunControl(Protocol):
    """What can end a run from another thread.

    Attributes:
        seconds: What a run may take, for what cannot be told to end; None for no limit.
    """

    seconds: float | None

    @property
    def terminated(self) -> bool:
        """Whether the run was told to end."""
        ...

    def terminate(self) -> None:
        """Tell the run to end; it does so between two nodes of its graph."""
        ...


class StopFlag:
    """A control for what looks at it by itself, or cannot be ended."""

    def __init__(self) -> None:
        self.terminated = False
        self.seconds: float | None = None

    def terminate(self) -> None:
        """Tell the run to end."""
        self.terminated = True


@dataclass(slots=True, eq=False)
class ActiveRun:
    """A run of the model, or several one after another, for the requests of one batch."""

    name: str
    requests: Sequence[Request]
    control: RunControl
    started: float

    def __str__(self) -> str:
        seconds = time.monotonic() - self.started
        return f"{self.name}, {self.requests[0].signature_name}, for {seconds:.1f} s"

    def limit(self) -> None:
        """Let the run take as long as the most patient of its callers waits."""
        latest = self.started
        for request in self.requests:
            if request.deadline is None:
                return
            latest = max(latest, request.deadline)
        self.control.seconds = latest - self.started

    def end_if_unwanted(self, now: float) -> None:
        """Answer callers whose deadline has passed, and end the run if no caller is left.

        For the event loop of the requests alone.
        """
        is_wanted = False
        for request in self.requests:
            if request.future.done():
                continue
            if request.deadline is not None and request.deadline < now:
                msg = f"deadline passed while {self.name} ran"
                request.future.set_exception(DeadlineExceeded(msg))
            else:
                is_wanted = True
        if not is_wanted and not self.control.terminated:
            self.control.terminate()


# Worker threads add and remove their runs; both is one step for Python's set.
ACTIVE: set[ActiveRun] = set()


async def watch() -> None:
    """End the runs of this event loop that nobody waits for, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = time.monotonic()
        for run in tuple(ACTIVE):
            if run.requests[0].future.get_loop() is loop:
                run.end_if_unwanted(now)


def terminate_all(loop: asyncio.AbstractEventLoop) -> None:
    """End every run of an event loop, wanted or not: its server has no time left."""
    for run in tuple(ACTIVE):
        if run.requests[0].future.get_loop() is loop:
            logger.warning("ending the run of %s: the drain is over", run)
            run.control.terminate()
