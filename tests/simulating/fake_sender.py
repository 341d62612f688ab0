"""A sender to a fake server in the load generator's own event loop."""

import asyncio
from collections.abc import Awaitable, Callable

from loadtest.load.plan import Plan

BODIES = [b"a", b"b", b"c"]


class Refused(Exception):
    """The error that the fake server raises."""


class FakeSender:
    """A sender to a fake server in the same event loop; `answer` gives the answer to a body."""

    failures = (Refused,)

    def __init__(self, answer: Callable[[bytes], Awaitable[object]]) -> None:
        self._answer = answer

    def lane(self, number: int):
        """See Sender."""
        return self._answer

    def explain(self, error: BaseException) -> tuple[str, str]:
        """See Sender."""
        return "UNAVAILABLE", str(error)

    async def close(self) -> None:
        """See Sender."""


def plan(**settings: object) -> Plan:
    defaults = {
        "in_flight": 1,
        "rate_per_second": None,
        "requests": None,
        "duration_seconds": None,
        "warmup_requests": 0,
        "schedule_seed": 0,
        "timeout_seconds": 10.0,
        "slo_ms": None,
    }
    return Plan(**(defaults | settings))


def constant(seconds: float) -> Callable[[bytes], Awaitable[bytes]]:
    """A server that answers every request after `seconds`, without queueing."""

    async def answer(body: bytes) -> bytes:
        await asyncio.sleep(seconds)
        return b"answer to " + body

    return answer
