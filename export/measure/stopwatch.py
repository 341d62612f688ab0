"""Time several ways of doing things in turns, so that a machine that drifts hits all of them alike.

Each has its turn in each round: `seconds` of calls, one after another. What is compared is compared
within a round.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

Key = TypeVar("Key")
_WARM_UP_CALLS = 3
_FEWEST_CALLS = 3


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one turn measured.

    Attributes:
        calls: How many there were.
        ms: Median of their wall-clock times in milliseconds.
        cpu_ms: CPU time a call of all threads of this process, in milliseconds.
    """

    calls: int
    ms: float
    cpu_ms: float


def in_turns(
    calls: Mapping[Key, Callable[[], object]], *, rounds: int, seconds: float
) -> dict[Key, list[Turn]]:
    """Time calls in turns, after a few that warm them up.

    Args:
        calls: What to time, by any key. The first of a round is another one in each.
        rounds: Turns of each, 1 or more.
        seconds: Length of a turn; at least three calls are made.

    Returns:
        `rounds` turns for each key, in their order.
    """
    for call in calls.values():
        for _ in range(_WARM_UP_CALLS):
            call()
    turns: dict[Key, list[Turn]] = {key: [] for key in calls}
    order = list(calls)
    for number in range(rounds):
        first = number % len(order)
        for key in order[first:] + order[:first]:
            turns[key].append(_turn(calls[key], seconds))
    return turns


def _turn(call: Callable[[], object], seconds: float) -> Turn:
    times: list[float] = []
    cpu_began, began = time.process_time(), time.perf_counter()
    before = began
    while len(times) < _FEWEST_CALLS or before - began < seconds:
        call()
        now = time.perf_counter()
        times.append(now - before)
        before = now
    cpu_seconds = time.process_time() - cpu_began
    return Turn(calls=len(times), ms=1e3 * median(times), cpu_ms=1e3 * cpu_seconds / len(times))
