"""Scales of chart axes: they map values to a share of the axis and choose the ticks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


class Scale(Protocol):
    """Maps values to a share of the axis, and chooses the ticks."""

    def share(self, value: float) -> float:
        """Return 0 for the start of the axis, 1 for its end."""

    def ticks(self) -> list[tuple[float, str]]:
        """Return the ticks: values and their labels."""


@dataclass(frozen=True)
class Linear:
    """A linear scale.

    Attributes:
        low: Start of the axis.
        high: End of the axis.
        whole: Whether only whole numbers get ticks, as for epochs.
    """

    low: float
    high: float
    whole: bool = False

    def share(self, value: float) -> float:
        """See Scale."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """See Scale; four to seven round numbers."""
        rough = (self.high - self.low) / 5
        power = 10 ** math.floor(math.log10(rough))
        factors = (1, 2, 5, 10) if self.whole else (1, 2, 2.5, 5, 10)
        step = power * min(factors, key=lambda times: abs(times * power - rough))
        if self.whole:
            step = max(1, round(step))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [(number * step, f"{number * step:,.10g}") for number in range(first, last + 1)]


@dataclass(frozen=True)
class Logarithmic:
    """A logarithmic scale; both ends are above 0."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """See Scale; a value below `low` is at the start of the axis."""
        return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """See Scale: powers of ten, and 2 and 5 times them while there is room."""
        decades = math.log10(self.high / self.low)
        times = (1,) if decades > 3.5 else (1, 3) if decades > 2 else (1, 2, 5)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [factor * 10.0**power for power in powers for factor in times]
        return [
            (value, f"{value:,.10g}")
            for value in values
            if self.low * 0.999 <= value <= self.high * 1.001
        ]


@dataclass(frozen=True)
class Percentiles:
    """Percentiles from 0 to `top` (such as 99.99) by 1 / (1 - p): each nine has the same width."""

    top: float

    def share(self, value: float) -> float:
        """See Scale."""
        return math.log(1 - value / 100) / math.log(1 - self.top / 100)

    def ticks(self) -> list[tuple[float, str]]:
        """See Scale."""
        values = (0, 50, 90, 99, 99.9, 99.99, 99.999)
        return [(value, f"{value:g}") for value in values if value <= self.top]


def linear(values: Iterable[float], *, zero: bool = True) -> Linear:
    """Return a linear scale that holds the values with a little room, from 0 by default."""
    present = list(values)
    low, high = (0.0 if zero else min(present)), max(present)
    room = 0.06 * (high - low) or abs(high) * 0.06 or 1.0
    return Linear(low if zero else low - room, high + room)


def logarithmic(values: Iterable[float]) -> Logarithmic:
    """Return a logarithmic scale that holds the values above 0 with a little room."""
    present = [value for value in values if value > 0]
    return Logarithmic(min(present) / 1.25, max(present) * 1.25)


def either(values: Iterable[float]) -> Scale:
    """Return a logarithmic scale if the values differ more than twentyfold, or a linear one."""
    present = [value for value in values if value > 0]
    return logarithmic(present) if max(present) > 20 * min(present) else linear(present)
