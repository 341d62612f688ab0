"""How a subject looks in every plot of a report, and texts that several plots show.

The colour shows the model, the shape of the marker the precision, and the dashes of the line show
differences of version, provider, transport or target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.reports.configurations import Configuration, LoadKey, Subject, subject_labels
from loadtest.reports.measures import Spread
from training.pages.drawing import COLOURS, DASHES, Legend, Marker

_SHAPES: dict[str, Marker] = {
    "fp32": "circle",
    "w8": "square",
    "fp16": "triangle",
    "int8": "diamond",
}


@dataclass(frozen=True)
class Look:
    """How a subject is drawn in every plot."""

    label: str
    colour: str
    dashes: str
    shape: Marker

    @property
    def line(self) -> str:
        """Style classes of the subject's lines."""
        return f"{self.colour} {self.dashes}"

    def mark(self, *, valid: bool) -> str:
        """Style classes of the subject's markers; those of runs that are not VALID are hollow."""
        return self.colour if valid else f"{self.colour} hollow"


def looks(configurations: Sequence[Configuration]) -> dict[Subject, Look]:
    """Return a look for every subject; colours are given in the order of the configurations."""
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
    """Return a legend entry for each different look."""
    return [
        Legend(look.label, line=look.line, mark=look.colour, shape=look.shape)
        for look in dict.fromkeys(shown)
    ]


def hover(look: Look, load: LoadKey, spread: Spread, unit: str, *, valid: bool) -> str:
    """Return the text that is shown when the reader points at a marker."""
    text = f"{look.label}, {load}: {spread.median:,.3f} {unit}"
    if spread.n > 1:
        text += f" (median of {spread.n}; {spread.low:,.3f} to {spread.high:,.3f})"
    return text if valid else f"{text}; INVALID"


def repeats_text(configurations: Sequence[Configuration]) -> str:
    """Return a sentence on how many repeats a marker stands for."""
    counts = sorted({len(configuration.results) for configuration in configurations})
    if counts == [1]:
        return "One run each."
    most = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return f"Markers are medians of {most} repeats, bars reach from the lowest to the highest."


def _rest(subject: Subject) -> tuple[str, ...]:
    return subject.version, subject.provider, subject.transport, subject.target
