"""The search for the highest rate that passes: double, bisect, confirm.

A step that fails is repeated, because a machine that was busy with something else for a moment must
not halve the result: a rate fails if two steps in a row do. Confirmations are not repeated, so what
passed by luck does not stay.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from loadtest.report_schema import CapacityLimit, CapacityStep, Phase

# Tries a rate: its phase, the rate, for how many seconds at least.
Attempt = Callable[[Phase, float, float], Awaitable[CapacityStep]]

_TRIES = 2
_CONFIRMATIONS = 6
# A confirmation that failed is repeated this much lower.
_BACK_OFF = 0.9
_LOWEST_RATE = 0.1


class SearchStopped(Exception):
    """An attempt says that no other shall follow.

    Attributes:
        why: See report_schema.Capacity.limited_by.
        step: What was measured; None: nothing that counts.
    """

    def __init__(self, why: CapacityLimit, step: CapacityStep | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.step = step


@dataclass(kw_only=True)
class RateSearch:
    """Where a search stands.

    Attributes:
        attempt: Tries a rate.
        step_seconds: How long a step is, at least.
        confirm_seconds: How long a confirmation is, likewise.
        resolution: The search ends when pass and fail are within this share of each other.
        max_steps: Steps at most, without confirmations.
        max_seconds: No step starts later than this.
        clock: Seconds since the search began.
        steps: Every attempt, in order.
        confirmed: Whether a confirmation passed.
    """

    attempt: Attempt
    step_seconds: float
    confirm_seconds: float
    resolution: float
    max_steps: int
    max_seconds: float
    clock: Callable[[], float]
    steps: list[CapacityStep] = field(default_factory=list)
    confirmed: bool = False
    _ended_by: CapacityLimit | None = None

    async def run(self, start_rate: float) -> None:
        """Search, beginning with a rate; ends early if an attempt raises SearchStopped."""
        try:
            await self._narrow(start_rate)
            await self._confirm()
        except SearchStopped as stopped:
            self._ended_by = stopped.why
            self.steps += [stopped.step] if stopped.step is not None else []

    @property
    def passed(self) -> float | None:
        """The highest rate that passed below every one that failed; None: none did."""
        failed = self.failed
        rates = (rate for rate, step in self._verdicts().items() if step.passed)
        return max((rate for rate in rates if failed is None or rate < failed), default=None)

    @property
    def failed(self) -> float | None:
        """The lowest rate that failed; None: none did."""
        rates = (rate for rate, step in self._verdicts().items() if not step.passed)
        return min(rates, default=None)

    @property
    def limited_by(self) -> CapacityLimit:
        """What keeps the result from being higher; see report_schema.Capacity."""
        if self._ended_by is not None:
            return self._ended_by
        failed = self.failed
        limited = failed is not None and self._verdicts()[failed].client_limited
        return "client" if limited else "slo"

    async def _narrow(self, start_rate: float) -> None:
        """Double while it passes or halve while it fails, then bisect."""
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
        """A longer run at the rate that was found, and lower if it does not hold."""
        rate = self.passed
        if rate is None:
            return
        for _ in range(_CONFIRMATIONS):
            if self.clock() >= self.max_seconds:
                self._ended_by = "time"
                return
            step = await self._step("confirm", rate, self.confirm_seconds)
            if step.passed:
                self.confirmed = True
                return
            rate *= _BACK_OFF

    async def _try(self, phase: Phase, rate: float) -> CapacityStep:
        """A step, and another one if it fails."""
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
        """The step that decides for each rate: the last one."""
        return {step.offered_rate_per_second: step for step in self.steps}
