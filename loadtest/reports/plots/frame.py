"""How a subject looks in every plot of a report, and texts that several plots show.

The colour shows the model, the shape of the marker the precision, and the dashes of the line show
differences of version, provider, transport or target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.reports import summary
from loadtest.reports.configurations import Configuration, LoadKey, Subject, subject_labels
from loadtest.reports.measures import Spread
from training.pages.drawing import COLOURS, DASHES, Figure, Legend, Marker, missing

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


def doubt(configuration: Configuration) -> str:
    """Return why the figures of a configuration do not all count; empty if it is VALID."""
    return "" if configuration.valid else summary.verdict(configuration).text


def hover(look: Look, load: LoadKey, spread: Spread, unit: str, why_hollow: str) -> str:
    """Return the text that is shown when the reader points at a marker.

    Args:
        look: Look of the subject.
        load: The load.
        spread: The figure.
        unit: Its unit.
        why_hollow: Why the figure does not count; empty if it does.
    """
    text = f"{look.label}, {load}: {spread.median:,.3f} {unit}"
    if spread.n > 1:
        text += f" (median of {spread.n}; {spread.low:,.3f} to {spread.high:,.3f})"
    return f"{text}; {why_hollow}" if why_hollow else text


def one_point(title: str, figures: str) -> Figure:
    """Return a plot that is left out because it would have a single point; a sentence has it."""
    return missing(title, f"one point only, {figures}.")


def repeats_text(configurations: Sequence[Configuration]) -> str:
    """Return a sentence on how many repeats a marker stands for."""
    counts = sorted({len(configuration.results) for configuration in configurations})
    if counts == [1]:
        return "One run each."
    most = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return f"Markers are medians of {most} repeats, bars reach from the lowest to the highest."


def _rest(subject: Subject) -> tuple[str, ...]:
    return subject.version, subject.provider, subject.transport, subject.target
