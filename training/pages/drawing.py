"""Figures as data: the shapes of a drawing, its legend and its caption.

The macros `figure` and `drawing` turn them into markup. Colours are style classes: "m0" to "m5" for
models or runs, and the style sheet gives each a colour on light and one on dark pages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

# Width of a drawing in user units. A phone shows about as many pixels, so a text of 13 units is
# readable there.
WIDTH = 440

COLOURS = 6
DASHES = 3

Marker = Literal["circle", "square", "triangle", "diamond"]


@dataclass(frozen=True)
class Shape:
    """An SVG element.

    Attributes:
        tag: Its name.
        attributes: Its attributes.
        text: Its text.
        title: Its tooltip.
    """

    tag: str
    attributes: Mapping[str, str]
    text: str = ""
    title: str = ""


@dataclass(frozen=True)
class Drawing:
    """An SVG image.

    Attributes:
        name: A description of the image, for screen readers and for pages that cannot show it.
        width: Width in user units.
        height: Height in user units.
        shapes: The shapes in the order in which they are drawn.
    """

    name: str
    width: float
    height: float
    shapes: Sequence[Shape]


@dataclass(frozen=True)
class Legend:
    """An entry of a legend.

    Attributes:
        text: The meaning of line and marker.
        line: Style classes of the line; None for no line.
        mark: Style classes of the marker; None for no marker.
        shape: Shape of the marker.
    """

    text: str
    line: str | None = None
    mark: str | None = None
    shape: Marker = "circle"

    @property
    def swatch(self) -> Drawing:
        """Return a sample of line and marker, 28 by 14 units."""
        shapes = []
        if self.line is not None:
            shapes.append(shape("path", d="M1 7H27", style=f"line {self.line}"))
        if self.mark is not None:
            shapes.append(marker(14, 7, self.mark, self.shape))
        return Drawing("", 28, 14, shapes)


@dataclass(frozen=True)
class Figure:
    """A drawing with its title, legend and caption.

    Attributes:
        title: The title.
        drawing: The drawing; None if there is nothing to draw, and the caption then says why.
        caption: How to read the figure, and which data it shows.
        legend: The legend's entries; may be empty.
    """

    title: str
    drawing: Drawing | None
    caption: str = ""
    legend: Sequence[Legend] = field(default=())


def missing(title: str, why: str) -> Figure:
    """Return a figure without a drawing, whose caption is the reason."""
    return Figure(title, None, why)


def shape(
    tag: str, text: str = "", *, style: str = "", title: str = "", **attributes: float | str
) -> Shape:
    """Return a shape.

    Args:
        tag: Name of the element.
        text: Its text.
        style: Its style classes.
        title: Shown when the reader points at it.
        **attributes: `_` stands for `-`; numbers are written with at most two digits.
    """
    written = {"class": style} if style else {}
    for name, value in attributes.items():
        written[name.replace("_", "-")] = value if isinstance(value, str) else number(value)
    return Shape(tag, written, text, title)


def marker(x: float, y: float, style: str, kind: Marker, title: str = "") -> Shape:
    """Return a marker around a point in user units."""
    style = f"mark {style}"
    if kind == "circle":
        return shape("circle", style=style, title=title, cx=x, cy=y, r=4.5)
    if kind == "square":
        return shape("rect", style=style, title=title, x=x - 4, y=y - 4, width=8, height=8)
    corners = (
        [(0, -5.5), (5.2, 4), (-5.2, 4)]
        if kind == "triangle"
        else [(0, -5.8), (5.8, 0), (0, 5.8), (-5.8, 0)]
    )
    path = "L".join(f"{number(x + right)} {number(y + down)}" for right, down in corners)
    return shape("path", style=style, title=title, d=f"M{path}Z")


def number(value: float) -> str:
    """Return a coordinate as text, with at most two digits after the point."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
