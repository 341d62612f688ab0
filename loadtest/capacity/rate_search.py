"""A search for the highest rate that passes: double, bisect, confirm.

A step that fails is repeated once: a rate fails only if two steps in a row fail, so that a moment
of other work on the machine does not halve the result. Confirmations are not repeated at the same
rate, so that a rate that passed by luck is not confirmed.

Steps are short, so their verdicts have errors. Several searches, whose median is confirmed, have
fewer.
"""

import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from loadtest.report_schema import CapacityLimit, CapacityStep, Phase

# Measures one step. Arguments: phase, rate, shortest time in seconds.
Attempt = Callable[[Phase, float, float], Awaitable[CapacityStep]]

_TRIES = 2
_CONFIRMATIONS = 6
# After a failed confirmation the next one runs at the rate times this factor.
_BACK_OFF = 0.9
_LOWEST_RATE = 0.1


class SearchStopped(Exception):
    """Raised by an attempt to end the search.

    Attributes:
        why: Value for report_schema.Capacity.limited_by.
        step: The step that was measured; None if it does not count.
    """

    def __init__(self, why: CapacityLimit, step: CapacityStep | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.step = step


@dataclass(kw_only=True)
class RateSearch:
    """A search and its state.

    Attributes:
        attempt: Function that measures one step.
        searches: Number of searches; the median of their rates is confirmed.
        step_seconds: Shortest time of a step.
        confirm_seconds: Shortest time of a confirmation.
        resolution: The search ends when the lowest failed rate is at most (1 + resolution) times
            the highest passed one.
        max_steps: Highest number of steps of a search, not counting confirmations.
        max_seconds: No step starts that could not end by this time, or that would leave no time
            for a confirmation.
        min_requests: Fewest requests of a step; at a low rate they take longer than the step's
            shortest time.
        clock: Returns the seconds since the search began.
        steps: Every attempt, in order.
        found: The highest passed rate of each search; None if none passed.
        confirmed_rate: The rate of the confirmation that passed; None if none did.
    """

    attempt: Attempt
    step_seconds: float
    confirm_seconds: float
    resolution: float
    max_steps: int
    max_seconds: float
    clock: Callable[[], float]
    min_requests: int = 1
    searches: int = 1
    steps: list[CapacityStep] = field(default_factory=list)
    found: list[float | None] = field(default_factory=list)
    confirmed_rate: float | None = None
    _ended_by: CapacityLimit | None = None
    _begin: int = 0  # index of the first step of the current search

    async def run(self, start_rate: float) -> None:
        """Search from a start rate; SearchStopped from an attempt ends the search early.

        A further search starts from the median of the rates that were found before.
        """
        try:
            for _ in range(self.searches):
                self._begin = len(self.steps)
                await self._narrow(self._median() or start_rate)
                self.found.append(self._passed(self._begin))
            await self._confirm()
        except SearchStopped as stopped:
            self._ended_by = stopped.why
            self.steps += [stopped.step] if stopped.step is not None else []

    @property
    def rate(self) -> float | None:
        """The confirmed rate; without one, the highest passed rate below all failed ones.

        After a failed confirmation the confirmed rate is lower than some rates that passed a short
        step: these passed by luck as the one did that was not confirmed.
        """
        return self._passed(0) if self.confirmed_rate is None else self.confirmed_rate

    @property
    def failed(self) -> float | None:
        """The lowest rate that failed in a step above the reported rate; None if none did."""
        rate = self.rate or 0.0
        rates = (step.offered_rate_per_second for step in self.steps if not step.passed)
        return min((failed for failed in rates if failed > rate), default=None)

    @property
    def limited_by(self) -> CapacityLimit:
        """The reason why the result is not higher; see report_schema.Capacity."""
        if self._ended_by is not None:
            return self._ended_by
        limits = [
            step.client_limited
            for step in self.steps
            if not step.passed and step.offered_rate_per_second == self.failed
        ]
        return "client" if limits and limits[-1] else "slo"

    async def _narrow(self, start_rate: float) -> None:
        """Double the rate while it passes or halve it while it fails, then bisect."""
        rate = start_rate
        begin = self._begin
        while (self._passed(begin) is None or self._failed(begin) is None) and rate >= _LOWEST_RATE:
            if not self._may_go_on(rate):
                return
            step = await self._try("probe", rate)
            rate = 2 * rate if step.passed else rate / 2
        while (
            (passed := self._passed(begin)) is not None
            and (failed := self._failed(begin)) is not None
            and failed > passed * (1 + self.resolution)
            and self._may_go_on((passed + failed) / 2)
        ):
            await self._try("bisect", (passed + failed) / 2)

    async def _confirm(self) -> None:
        """Run a longer step at the median rate; lower the rate while it fails."""
        rate = self._median()
        if rate is None:
            return
        for _ in range(_CONFIRMATIONS):
            if not self._has_time(self._planned(rate, self.confirm_seconds)):
                return
            step = await self._step("confirm", rate, self.confirm_seconds)
            if step.passed:
                self.confirmed_rate = rate
                return
            rate *= _BACK_OFF

    async def _try(self, phase: Phase, rate: float) -> CapacityStep:
        """Run a step, and repeat it if it fails."""
        step = await self._step(phase, rate, self.step_seconds)
        for _ in range(_TRIES - 1):
            if not step.passed and self._may_go_on(rate):
                step = await self._step(phase, rate, self.step_seconds)
        return step

    async def _step(self, phase: Phase, rate: float, seconds: float) -> CapacityStep:
        step = await self.attempt(phase, rate, seconds)
        self.steps.append(step)
        return step

    def _may_go_on(self, rate: float) -> bool:
        if len(self.steps) - self._begin >= self.max_steps:
            self._ended_by = "steps"
            return False
        step, confirm = (
            self._planned(rate, seconds) for seconds in (self.step_seconds, self.confirm_seconds)
        )
        return self._has_time(step + confirm)

    def _has_time(self, seconds: float) -> bool:
        if self.clock() + seconds > self.max_seconds:
            self._ended_by = "time"
            return False
        return True

    def _planned(self, rate: float, seconds: float) -> float:
        """Return the seconds that a step sends for."""
        return max(seconds, self.min_requests / rate)

    def _median(self) -> float | None:
        """Return the median of the searches' rates, the lower one of two; None without any."""
        rates = [rate for rate in self.found if rate is not None]
        return statistics.median_low(rates) if rates else None

    def _passed(self, begin: int) -> float | None:
        """Return the highest passed rate below all failed ones among the steps from `begin` on."""
        failed = self._failed(begin)
        rates = (rate for rate, step in self._verdicts(begin).items() if step.passed)
        return max((rate for rate in rates if failed is None or rate < failed), default=None)

    def _failed(self, begin: int) -> float | None:
        """Return the lowest failed rate among the steps from `begin` on."""
        rates = (rate for rate, step in self._verdicts(begin).items() if not step.passed)
        return min(rates, default=None)

    def _verdicts(self, begin: int) -> dict[float, CapacityStep]:
        """Return the last step of each rate, which decides whether the rate passed."""
        return {step.offered_rate_per_second: step for step in self.steps[begin:]}
