"""What became of each call of a chaos run: answered, wrong, excused or lost."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

# A worker that is killed closes its connections a moment after the signal.
_CLOSING_SECONDS = 0.5


@dataclass
class Failure:
    """A call that was not answered.

    Attributes:
        kind: Kind of the caller.
        began: `time.monotonic()` at which the call began.
        ended: `time.monotonic()` at which it failed.
        broken: Whether its connection broke, which is what a killed worker does to a call.
        reason: The error.
    """

    kind: str
    began: float
    ended: float
    broken: bool
    reason: str


@dataclass
class Ledger:
    """All calls of a run.

    Attributes:
        answered: Number of right answers, by kind of caller.
        wrong: Descriptions of wrong answers.
        failures: The calls without an answer.
        kills: When workers were killed: `time.monotonic()` before the signal and after their end.
    """

    answered: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    kills: list[tuple[float, float]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, kind: str, *, right: bool, what: str) -> None:
        """Note an answer; `what` describes a wrong one."""
        with self._lock:
            if right:
                self.answered[kind] += 1
            else:
                self.wrong.append(f"{kind}: {what}")

    def fail(self, kind: str, began: float, *, broken: bool, reason: str) -> None:
        """Note a call that has just failed."""
        with self._lock:
            self.failures.append(Failure(kind, began, time.monotonic(), broken, reason))

    def is_excused(self, failure: Failure) -> bool:
        """Return whether the call's connection broke while a worker was killed."""
        return failure.broken and any(
            failure.began <= after + _CLOSING_SECONDS and failure.ended >= before
            for before, after in self.kills
        )

    @property
    def lost(self) -> list[Failure]:
        """The calls that failed although no worker was killed meanwhile."""
        return [failure for failure in self.failures if not self.is_excused(failure)]

    def seconds_after_kills(self) -> list[float]:
        """Return for each lost call how long after the end of a killed worker it began."""
        return [
            min((lost.began - after for _, after in self.kills if after < lost.began), default=-1.0)
            for lost in self.lost
        ]
