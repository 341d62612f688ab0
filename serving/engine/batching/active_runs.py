"""The runs in progress in this process; a run is terminated when no caller waits for it any more.

A graph may run for hours, for example a Loop whose number of iterations is an input. ONNX Runtime
checks between two nodes whether to terminate a run; one long node always runs to its end.
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

# Interval at which `watch` checks the runs.
LOOK_SECONDS = 0.25


class RunControl(Protocol):
    """Terminates a run from another thread.

    Attributes:
        seconds: Time limit of the run, for runtimes that cannot be terminated from another thread;
            None: no limit.
    """

    seconds: float | None

    @property
    def terminated(self) -> bool:
        """Whether `terminate` was called."""
        ...

    def terminate(self) -> None:
        """Make the run end after its current node."""
        ...


class StopFlag:
    """A control for run functions that check `terminated` themselves, or cannot be terminated."""

    def __init__(self) -> None:
        self.terminated = False
        self.seconds: float | None = None

    def terminate(self) -> None:
        """Set `terminated`."""
        self.terminated = True


@dataclass(slots=True, eq=False)
class ActiveRun:
    """The run of a batch; if it fails, also the following runs of its single requests."""

    name: str
    requests: Sequence[Request]
    control: RunControl
    started: float

    def __str__(self) -> str:
        seconds = time.monotonic() - self.started
        return f"{self.name}, {self.requests[0].group.signature_name}, for {seconds:.1f} s"

    def limit(self) -> None:
        """Set the run's time limit to the latest deadline of its requests.

        If a request has no deadline, the run has no time limit.
        """
        latest = self.started
        for request in self.requests:
            if request.deadline is None:
                return
            latest = max(latest, request.deadline)
        self.control.seconds = latest - self.started

    def end_if_unwanted(self, now: float) -> None:
        """Fail requests whose deadline has passed, and terminate the run if no caller is left.

        Must be called in the event loop of the requests.

        Args:
            now: `time.monotonic()`.
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


# Worker threads add and remove their runs. No lock is needed: both operations of a set are atomic.
ACTIVE: set[ActiveRun] = set()


async def watch() -> None:
    """Terminate the runs of this event loop that no caller waits for, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = time.monotonic()
        for run in tuple(ACTIVE):
            if run.requests[0].future.get_loop() is loop:
                run.end_if_unwanted(now)


def terminate_all(loop: asyncio.AbstractEventLoop) -> None:
    """Terminate all runs of an event loop; called when the server's time to drain is over."""
    for run in tuple(ACTIVE):
        if run.requests[0].future.get_loop() is loop:
            logger.warning("ending the run of %s: the drain is over", run)
            run.control.terminate()
