"""Charts with two axes: lines, markers, bars and rules, each with its style classes."""

import math
from collections.abc import Sequence

from training.pages.drawing import WIDTH, Drawing, Marker, Shape, marker, number, shape
from training.pages.scales import Scale

HEIGHT = 300
_RIGHT, _TOP, _BOTTOM = 14, 12, 46
# The left margin holds the turned label and at least these units of tick labels.
_LABEL, _LEAST_TICKS = 28, 30
_DIGIT = 7.0
_NOTE = 20.0

Point = tuple[float, float]


class Chart:
    """A chart. Each call draws on top of the shapes of earlier calls."""

    def __init__(self, x: Scale, y: Scale, *, x_label: str, y_label: str, name: str) -> None:
        """Draw the axes.

        Args:
            x: Scale of the horizontal axis.
            y: Scale of the vertical axis.
            x_label: Quantity on the horizontal axis, with its unit.
            y_label: Quantity on the vertical axis, with its unit.
            name: What the chart shows, for screen readers.
        """
        self._x, self._y = x, y
        self._drawn: list[Shape] = []
        self._notes: list[tuple[str, Point]] = []
        self._name = name
        widest = max((len(text) for _, text in y.ticks()), default=0)
        self._left = _LABEL + max(_LEAST_TICKS, _DIGIT * widest)
        bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
        for value, text in y.ticks():
            height = self._down(value)
            self._add(shape("line", style="grid", x1=self._left, x2=right, y1=height, y2=height))
            self._add(shape("text", text, style="tick end", x=self._left - 6, y=height + 4.5))
        for value, text in x.ticks():
            across = self._across(value)
            self._add(shape("line", style="grid", x1=across, x2=across, y1=_TOP, y2=bottom))
            self._add(shape("text", text, style="tick middle", x=across, y=bottom + 17))
        self._add(shape("path", style="axis", d=f"M{number(self._left)} {_TOP}V{bottom}H{right}"))
        middle, style = (_TOP + bottom) / 2, "label middle"
        self._add(shape("text", x_label, style=style, x=(self._left + right) / 2, y=HEIGHT - 8))
        turned = f"translate(13 {middle:g}) rotate(-90)"
        self._add(shape("text", y_label, style=style, transform=turned))

    def line(self, points: Sequence[Point], style: str, *, stairs: bool = False) -> None:
        """Draw a line through points; with `stairs`, a step at each point and no slopes."""
        if len(points) < 2:
            return
        path = [f"M{self._at(points[0])}"]
        for x, y in points[1:]:
            if stairs:
                path.append(f"H{number(self._across(x))}V{number(self._down(y))}")
            else:
                path.append(f"L{self._at((x, y))}")
        self._add(shape("path", style=f"line {style}", d="".join(path)))

    def mark(self, point: Point, style: str, kind: Marker, text: str) -> None:
        """Draw a marker; `text` is its tooltip."""
        x, y = self._across(point[0]), self._down(point[1])
        self._add(marker(x, y, style, kind, text))

    def bar(self, x: tuple[float, float], y: tuple[float, float], style: str) -> None:
        """Draw a thin bar from one corner to the other: the spread of a marker."""
        start, end = self._at((x[0], y[0])), self._at((x[1], y[1]))
        if start != end:
            self._add(shape("path", style=f"bar {style}", d=f"M{start}L{end}"))

    def rule(self, y: float, style: str, text: str) -> None:
        """Draw a horizontal line over the whole width, with a text where there is room for it."""
        height = self._down(y)
        self._add(
            shape("line", style=style, x1=self._left, x2=WIDTH - _RIGHT, y1=height, y2=height)
        )
        down = height + (14 if height < _TOP + 14 else -5)
        self._add(shape("text", text, style=f"note halo {style}", x=self._left + 5, y=down))

    def note(self, point: Point, text: str, style: str = "") -> None:
        """Write a text beside a point, on the side with more room.

        The text is left out where it would cover the same text of an earlier point.
        """
        x, y = self._across(point[0]), self._down(point[1])
        if any(text == old and math.dist((x, y), at) < _NOTE for old, at in self._notes):
            return
        self._notes.append((text, (x, y)))
        left = x > (self._left + WIDTH) * 0.6
        style = f"note halo {'end ' if left else ''}{style}"
        self._add(
            shape("text", text, style=style, x=x + (-8 if left else 8), y=max(y - 6, _TOP + 10))
        )

    def drawing(self) -> Drawing:
        """Return a drawing with all shapes drawn so far."""
        return Drawing(self._name, WIDTH, HEIGHT, tuple(self._drawn))

    def _add(self, drawn: Shape) -> None:
        self._drawn.append(drawn)

    def _across(self, value: float) -> float:
        share = min(max(self._x.share(value), 0), 1)
        return self._left + share * (WIDTH - self._left - _RIGHT)

    def _down(self, value: float) -> float:
        share = min(max(self._y.share(value), 0), 1)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def _at(self, point: Point) -> str:
        return f"{number(self._across(point[0]))} {number(self._down(point[1]))}"
