"""A line chart as inline SVG: two axes, lines, markers, bars and rules, each with its style class.

Colours are not here: a page's style sheet gives them, in light and in dark.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from loadtest.reports.markup import Element, element

# The size in user units; drawn about as wide on a phone, so that 13 units stay readable there.
WIDTH, HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 46

Shape = Literal["circle", "square", "triangle", "diamond"]
Point = tuple[float, float]


class Scale(Protocol):
    """Maps values to the share of an axis, and says where its ticks are."""

    def share(self, value: float) -> float:
        """0 at the axis' beginning, 1 at its end."""

    def ticks(self) -> list[tuple[float, str]]:
        """Values and their labels."""


@dataclass(frozen=True)
class Linear:
    """From low to high."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """See Scale."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """See Scale; four to seven round numbers."""
        rough = (self.high - self.low) / 5
        power = 10 ** math.floor(math.log10(rough))
        step = power * min((1, 2, 2.5, 5, 10), key=lambda times: abs(times * power - rough))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [(number * step, f"{number * step:,.10g}") for number in range(first, last + 1)]


@dataclass(frozen=True)
class Logarithmic:
    """From low to high, both above 0."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """See Scale; what is below the axis lies at its beginning."""
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
    """Percentiles from 0 up to `top` (such as 99.99) by 1 / (1 - p): each nine is as wide."""

    top: float

    def share(self, value: float) -> float:
        """See Scale."""
        return math.log(1 - value / 100) / math.log(1 - self.top / 100)

    def ticks(self) -> list[tuple[float, str]]:
        """See Scale."""
        values = (0, 50, 90, 99, 99.9, 99.99, 99.999)
        return [(value, f"{value:g}") for value in values if value <= self.top]


def linear(values: Iterable[float], *, zero: bool = True) -> Linear:
    """A linear scale that holds values, from 0 unless told otherwise, with a little room."""
    present = list(values)
    low, high = (0.0 if zero else min(present)), max(present)
    room = 0.06 * (high - low) or abs(high) * 0.06 or 1.0
    return Linear(low if zero else low - room, high + room)


def logarithmic(values: Iterable[float]) -> Logarithmic:
    """A logarithmic scale that holds values above 0, with a little room."""
    present = [value for value in values if value > 0]
    return Logarithmic(min(present) / 1.25, max(present) * 1.25)


def either(values: Iterable[float]) -> Scale:
    """Logarithmic if the values differ more than twentyfold, else linear from 0."""
    present = [value for value in values if value > 0]
    return logarithmic(present) if max(present) > 20 * min(present) else linear(present)


class Chart:
    """A chart that things are drawn on, in the order of the calls."""

    def __init__(self, x: Scale, y: Scale, *, x_label: str, y_label: str, name: str) -> None:
        """Draw the axes.

        Args:
            x: Scale of the horizontal axis.
            y: Scale of the vertical axis.
            x_label: What it is, with its unit.
            y_label: Likewise.
            name: What the chart shows, for those who hear it read.
        """
        self._x, self._y = x, y
        self._drawn: list[Element] = []
        self._name = name
        bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
        for value, text in y.ticks():
            height = self._down(value)
            self._add("line", class_="grid", x1=_LEFT, x2=right, y1=height, y2=height)
            self._add("text", text, class_="tick end", x=_LEFT - 6, y=height + 4.5)
        for value, text in x.ticks():
            across = self._across(value)
            self._add("line", class_="grid", x1=across, x2=across, y1=_TOP, y2=bottom)
            self._add("text", text, class_="tick middle", x=across, y=bottom + 17)
        self._add("path", class_="axis", d=f"M{_LEFT} {_TOP}V{bottom}H{right}")
        middle = (_TOP + bottom) / 2
        self._add("text", x_label, class_="label middle", x=(_LEFT + right) / 2, y=HEIGHT - 8)
        self._add(
            *("text", y_label),
            class_="label middle",
            transform=f"translate(13 {middle:g}) rotate(-90)",
        )

    def line(self, points: Sequence[Point], style: str, *, stairs: bool = False) -> None:
        """A line through points; `stairs` keeps each height until the next point."""
        if len(points) < 2:
            return
        path = [f"M{self._at(points[0])}"]
        for x, y in points[1:]:
            if stairs:
                path.append(f"H{_number(self._across(x))}V{_number(self._down(y))}")
            else:
                path.append(f"L{self._at((x, y))}")
        self._add("path", class_=f"line {style}", d="".join(path))

    def mark(self, point: Point, style: str, shape: Shape, text: str) -> None:
        """A marker; `text` shows when somebody points at it."""
        x, y = self._across(point[0]), self._down(point[1])
        self._drawn.append(marker(x, y, style, shape, text))

    def bar(self, x: tuple[float, float], y: tuple[float, float], style: str) -> None:
        """A thin bar from one corner to the other: the spread of a marker."""
        start, end = self._at((x[0], y[0])), self._at((x[1], y[1]))
        if start != end:
            self._add("path", class_=f"bar {style}", d=f"M{start}L{end}")

    def rule(self, y: float, style: str, text: str, *, below: bool = False) -> None:
        """A horizontal line over the whole width with a word on it, above it unless told."""
        height = self._down(y)
        self._add("line", class_=style, x1=_LEFT, x2=WIDTH - _RIGHT, y1=height, y2=height)
        down = height + (14 if below else -5)
        self._add("text", text, class_=f"note {style}", x=_LEFT + 5, y=down)

    def note(self, point: Point, text: str, style: str = "") -> None:
        """A word beside a point, on the side where there is room."""
        x, y = self._across(point[0]), self._down(point[1])
        left = x > (_LEFT + WIDTH) * 0.6
        self._add(
            *("text", text),
            class_=f"note halo {'end ' if left else ''}{style}",
            x=x + (-8 if left else 8),
            y=max(y - 6, _TOP + 10),
        )

    def svg(self) -> Element:
        """The chart."""
        return element(
            "svg",
            self._drawn,
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            role="img",
            aria_label=self._name,
        )

    def _add(self, tag: str, *children: str, **attributes: object) -> None:
        self._drawn.append(element(tag, *children, **attributes))

    def _across(self, value: float) -> float:
        share = min(max(self._x.share(value), 0), 1)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def _down(self, value: float) -> float:
        share = min(max(self._y.share(value), 0), 1)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def _at(self, point: Point) -> str:
        return f"{_number(self._across(point[0]))} {_number(self._down(point[1]))}"


def marker(x: float, y: float, style: str, shape: Shape, text: str = "") -> Element:
    """A marker at a place in user units; legends show it, too."""
    r = 4.5
    title = element("title", text) if text else None
    style = f"mark {style}"
    if shape == "circle":
        return element("circle", title, class_=style, cx=float(x), cy=float(y), r=r)
    if shape == "square":
        corner = {"x": x - 4, "y": y - 4, "width": 8, "height": 8}
        return element("rect", title, class_=style, **corner)
    corners = (
        [(0, -5.5), (5.2, 4), (-5.2, 4)]
        if shape == "triangle"
        else [(0, -5.8), (5.8, 0), (0, 5.8), (-5.8, 0)]
    )
    path = "L".join(f"{_number(x + right)} {_number(y + down)}" for right, down in corners)
    return element("path", title, class_=style, d=f"M{path}Z")


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
