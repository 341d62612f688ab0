"""Time several functions in turns, so that changes in the machine's speed affect all of them alike.

In each round each function has one turn: it is called again and again for `seconds`. Compare turns
of the same round with each other.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from export import progress

Key = TypeVar("Key")
_WARM_UP_CALLS = 3
_FEWEST_CALLS = 3


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The measurements of one turn.

    Attributes:
        calls: Number of calls.
        ms: Median wall-clock time of a call, in milliseconds.
        cpu_ms: Mean CPU time of a call over all threads of this process, in milliseconds.
    """

    calls: int
    ms: float
    cpu_ms: float


def in_turns(
    calls: Mapping[Key, Callable[[], object]], *, rounds: int, seconds: float
) -> dict[Key, list[Turn]]:
    """Time functions in turns, after three warm-up calls of each.

    Args:
        calls: The functions by any key. Each round starts with the next one of them.
        rounds: Turns of each function, 1 or more.
        seconds: Length of a turn in seconds; a turn has at least three calls.

    Returns:
        By key, `rounds` turns in the order of the rounds.
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
            progress.count(sum(map(len, turns.values())), rounds * len(order), "turns")
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
