"""A search for the highest rate that passes: double, bisect, confirm.

A step that fails is repeated once: a rate fails only if two steps in a row fail, so that a moment
of other work on the machine does not halve the result. Confirmations are not repeated at the same
rate, so that a rate that passed by luck is not confirmed.
"""

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
        step_seconds: Shortest time of a step.
        confirm_seconds: Shortest time of a confirmation.
        resolution: The search ends when the lowest failed rate is at most (1 + resolution) times
            the highest passed one.
        max_steps: Highest number of steps, not counting confirmations.
        max_seconds: No step starts after this time.
        clock: Returns the seconds since the search began.
        steps: Every attempt, in order.
        confirmed_rate: The rate of the confirmation that passed; None if none did.
    """

    attempt: Attempt
    step_seconds: float
    confirm_seconds: float
    resolution: float
    max_steps: int
    max_seconds: float
    clock: Callable[[], float]
    steps: list[CapacityStep] = field(default_factory=list)
    confirmed_rate: float | None = None
    _ended_by: CapacityLimit | None = None

    async def run(self, start_rate: float) -> None:
        """Search from a start rate; SearchStopped from an attempt ends the search early."""
        try:
            await self._narrow(start_rate)
            await self._confirm()
        except SearchStopped as stopped:
            self._ended_by = stopped.why
            self.steps += [stopped.step] if stopped.step is not None else []

    @property
    def rate(self) -> float | None:
        """The confirmed rate; without one, the highest rate that passed a short step.

        After a failed confirmation the confirmed rate is lower than some rates that passed a short
        step: these passed by luck as the one did that was not confirmed.
        """
        return self.passed if self.confirmed_rate is None else self.confirmed_rate

    @property
    def passed(self) -> float | None:
        """The highest passed rate below all failed rates; None if there is none."""
        failed = self.failed
        rates = (rate for rate, step in self._verdicts().items() if step.passed)
        return max((rate for rate in rates if failed is None or rate < failed), default=None)

    @property
    def failed(self) -> float | None:
        """The lowest failed rate; None if none failed."""
        rates = (rate for rate, step in self._verdicts().items() if not step.passed)
        return min(rates, default=None)

    @property
    def limited_by(self) -> CapacityLimit:
        """The reason why the result is not higher; see report_schema.Capacity."""
        if self._ended_by is not None:
            return self._ended_by
        failed = self.failed
        limited = failed is not None and self._verdicts()[failed].client_limited
        return "client" if limited else "slo"

    async def _narrow(self, start_rate: float) -> None:
        """Double the rate while it passes or halve it while it fails, then bisect."""
        rate = start_rate
        while (self.passed is None or self.failed is None) and rate >= _LOWEST_RATE:
            if not self._may_go_on():
                return
            step = await self._try("probe", rate)
            rate = 2 * rate if step.passed else rate / 2
        while (
            (passed := self.passed) is not None
            and (failed := self.failed) is not None
            and failed > passed * (1 + self.resolution)
            and self._may_go_on()
        ):
            await self._try("bisect", (passed + failed) / 2)

    async def _confirm(self) -> None:
        """Run a longer step at the rate that was found; lower the rate while it fails."""
        rate = self.passed
        if rate is None:
            return
        for _ in range(_CONFIRMATIONS):
            if self.clock() >= self.max_seconds:
                self._ended_by = "time"
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
            if not step.passed and self._may_go_on():
                step = await self._step(phase, rate, self.step_seconds)
        return step

    async def _step(self, phase: Phase, rate: float, seconds: float) -> CapacityStep:
        step = await self.attempt(phase, rate, seconds)
        self.steps.append(step)
        return step

    def _may_go_on(self) -> bool:
        if len(self.steps) >= self.max_steps:
            self._ended_by = "steps"
        elif self.clock() >= self.max_seconds:
            self._ended_by = "time"
        return self._ended_by is None

    def _verdicts(self) -> dict[float, CapacityStep]:
        """Return the last step of each rate, which decides whether the rate passed."""
        return {step.offered_rate_per_second: step for step in self.steps}
