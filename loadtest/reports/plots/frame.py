"""What every plot of a report shares: its frame, and how a subject looks.

Colour is the model, the marker's shape the precision, the line's dashes the rest where it varies:
version, provider, transport, target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.reports.configurations import Configuration, LoadKey, Subject, subject_labels
from loadtest.reports.markup import Element
from loadtest.reports.measures import Spread
from loadtest.reports.plots.chart import Shape

_SHAPES: dict[str, Shape] = {
    "fp32": "circle",
    "w8": "square",
    "fp16": "triangle",
    "int8": "diamond",
}
COLOURS = 6
DASHES = 3


@dataclass(frozen=True)
class Look:
    """How a subject is drawn, the same in every plot."""

    label: str
    colour: str
    dashes: str
    shape: Shape

    @property
    def line(self) -> str:
        """Style classes of its lines."""
        return f"{self.colour} {self.dashes}"

    def mark(self, *, valid: bool) -> str:
        """Style classes of its markers."""
        return self.colour if valid else f"{self.colour} hollow"


@dataclass(frozen=True)
class Legend:
    """A line of a legend.

    Attributes:
        text: What it stands for.
        line: Style classes of its line; None: no line.
        mark: Style classes of its marker; None: no marker.
        shape: Of the marker.
    """

    text: str
    line: str | None = None
    mark: str | None = None
    shape: Shape = "circle"


@dataclass(frozen=True)
class Figure:
    """One plot.

    Attributes:
        title: What it shows.
        caption: How to read it, and of what it was made.
        legend: May be empty.
        drawing: None if there is nothing to draw; the caption then says why.
    """

    title: str
    caption: str
    legend: Sequence[Legend]
    drawing: Element | None


def missing(title: str, why: str) -> Figure:
    """A plot that is left out."""
    return Figure(title, why, (), None)


def looks(configurations: Sequence[Configuration]) -> dict[Subject, Look]:
    """A look for every subject, in the order in which they come."""
    labels = subject_labels([configuration.subject for configuration in configurations])
    models = list(dict.fromkeys(subject.model for subject in labels))
    others = list(dict.fromkeys(_rest(subject) for subject in labels))
    return {
        subject: Look(
            label=label,
            colour=f"m{models.index(subject.model) % COLOURS}",
            dashes=f"d{others.index(_rest(subject)) % DASHES}",
            shape=_SHAPES.get(subject.precision, "circle"),
        )
        for subject, label in labels.items()
    }


def legend(shown: Sequence[Look]) -> list[Legend]:
    """A line for each look, once."""
    return [
        Legend(look.label, line=look.line, mark=look.colour, shape=look.shape)
        for look in dict.fromkeys(shown)
    ]


def hover(look: Look, load: LoadKey, spread: Spread, unit: str, *, valid: bool) -> str:
    """What a marker says when somebody points at it."""
    text = f"{look.label}, {load}: {spread.median:,.3f} {unit}"
    if spread.n > 1:
        text += f" (median of {spread.n}; {spread.low:,.3f} to {spread.high:,.3f})"
    return text if valid else f"{text}; INVALID"


def repeats_text(configurations: Sequence[Configuration]) -> str:
    """How many repeats the markers stand for, in words."""
    counts = sorted({len(configuration.results) for configuration in configurations})
    if counts == [1]:
        return "One run each."
    most = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return f"Markers are medians of {most} repeats, bars reach from the lowest to the highest."


def _rest(subject: Subject) -> tuple[str, ...]:
    return subject.version, subject.provider, subject.transport, subject.target
