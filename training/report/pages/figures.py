"""The report's charts, drawn with Matplotlib for light and for dark pages."""

import io
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from training import plots
from training.evaluation.accuracy import wilson_interval

Theme = Literal["light", "dark"]
Interval = tuple[float, float]

# As wide as a phone's screen in portrait (330 points), so that text stays readable there.
_WIDTH_INCHES = 4.6
_NAME_LENGTH = 26
# Okabe and Ito's colours, which the colour-blind can tell apart, lighter on dark pages.
_SERIES = {
    "light": ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#b58900", "#555555"),
    "dark": ("#56b4e9", "#ff9e4a", "#2cc69a", "#e08bbe", "#f0e442", "#bbbbbb"),
}
_INK = {"light": "#1f2328", "dark": "#e6edf3"}
_FAINT = {"light": "#8c959f", "dark": "#7d8590"}


def png(draw: Callable[[], Figure], path: Path) -> None:
    """Draw for a light page and write PNG on white."""
    with _theme("light"):
        draw().savefig(path, dpi=160, facecolor="white", metadata={"Software": None})


def svg(draw: Callable[[], Figure], theme: Theme) -> bytes:
    """Draw for a page of a theme: SVG with a transparent background and text as outlines."""
    buffer = io.BytesIO()
    with _theme(theme):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        draw().savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return buffer.getvalue()


@contextmanager
def _theme(theme: Theme) -> Iterator[None]:
    ink, faint = _INK[theme], _FAINT[theme]
    settings: dict[str, Any] = {
        "axes.edgecolor": faint,
        "axes.grid": True,
        "axes.labelcolor": ink,
        # More lines than colours go on with the first colour, broken.
        "axes.prop_cycle": cycler(linestyle=("-", "--", ":")) * cycler(color=_SERIES[theme]),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": ink,
        "axes.titlesize": 10,
        "font.size": 9,
        "grid.alpha": 0.3,
        "grid.color": faint,
        "legend.frameon": False,
        "svg.hashsalt": "report",  # the same file for the same figures
        "text.color": ink,
        "text.parse_math": False,  # a "$" in a folder's name is no formula
        "xtick.color": ink,
        "ytick.color": ink,
    }
    with mpl.rc_context(settings):
        yield


def curves(
    history: Sequence[dict[str, float]], columns: Mapping[str, str], label: str, title: str
) -> Figure:
    """Columns of a run's history over the epochs; see training.plots.draw_curves."""
    figure, axes = _figure(3.0)
    plots.draw_curves(axes, history, dict(columns), label)
    axes.set_title(title)
    if "learning_rate" in columns:
        axes.set_ylim(bottom=0)
    if label == "Accuracy (%)":
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    return figure


def validation_curves(histories: Mapping[str, Sequence[dict[str, float]]]) -> Figure:
    """Validation accuracy over the epochs, a line for each run."""
    figure, axes = _figure(3.0 + 0.18 * len(histories))
    for name, history in histories.items():
        epochs = [int(row["epoch"]) for row in history]
        marker = "o" if len(epochs) <= 30 else None
        shares = [row["val_accuracy"] for row in history]
        axes.plot(epochs, shares, marker=marker, ms=3, label=_shortened(name))
    axes.set(xlabel="Epoch", ylabel="Accuracy (%)", title="Validation accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    figure.legend(loc="outside lower center", ncols=1 if len(histories) > 4 else 2)
    return figure


def accuracies(
    measured: Mapping[str, tuple[float, Interval]], published: Mapping[str, float]
) -> Figure:
    """Test accuracy of each run with its 95 % interval, beside published figures."""
    figure, axes = _figure(1.1 + 0.3 * (len(measured) + len(published)))
    _dots(axes, measured)
    for number, (name, share) in enumerate(published.items(), start=1):
        axes.plot(share, -number, marker="D", ms=5, mfc="none", color=mpl.rcParams["text.color"])
        axes.axvline(share, lw=0.8, ls=":", color=mpl.rcParams["axes.edgecolor"])
        axes.annotate(f"{100 * share:.2f}", (share, -number), (6, -3), textcoords="offset points")
        del name
    names = [_shortened(name) for name in measured]
    positions = [*range(len(measured) - 1, -1, -1), *(-1 - i for i in range(len(published)))]
    axes.set_yticks(positions, [*names, *published])
    axes.set(
        xlabel="Test images classified correctly (%)",
        ylim=(-len(published) - 0.6, len(measured) - 0.3),
    )
    axes.set_title("Test accuracy, 95 % intervals")
    return figure


def class_accuracies(matrix: Sequence[Sequence[int]], class_names: Sequence[str]) -> Figure:
    """Accuracy of each class with its 95 % interval."""
    figure, axes = _figure(3.6)
    shares = {}
    for label, name in enumerate(class_names):
        total = sum(matrix[label])
        if total:
            correct = matrix[label][label]
            shares[name] = (correct / total, wilson_interval(correct, total))
    _dots(axes, shares)
    axes.set_yticks(range(len(shares) - 1, -1, -1), list(shares))
    axes.set(xlabel="Images of the class classified correctly (%)")
    axes.set_title("Accuracy by class, 95 % intervals")
    return figure


def confusion_matrix(matrix: Sequence[Sequence[int]]) -> Figure:
    """Counts by label and answer."""
    figure, axes = _figure(4.4)
    axes.grid(visible=False)
    plots.draw_confusion_matrix(axes, matrix)
    axes.set_title("Confusion matrix (images)")
    return figure


def pictures(images: npt.NDArray[np.uint8], captions: Sequence[str], *, columns: int) -> Figure:
    """Pictures in rows, enlarged pixel by pixel, with a caption of one or more lines below each.

    Args:
        images: uint8, shape (n, height, width, 3).
        captions: n texts.
        columns: Pictures in a row.
    """
    rows = -(-len(images) // columns)
    lines = 1 + max(caption.count("\n") for caption in captions)
    side = _WIDTH_INCHES / columns
    figure = Figure(figsize=(_WIDTH_INCHES, rows * (side + 0.14 * lines)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, caption in zip(grid.flat, images, captions, strict=False):
        axes.imshow(image, interpolation="none")
        axes.text(0.5, -0.04, caption, ha="center", va="top", size=8, transform=axes.transAxes)
    return figure


def _figure(height_inches: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
    return figure, figure.subplots()


def _dots(axes: Axes, shares: Mapping[str, tuple[float, Interval]]) -> None:
    """A dot with its interval and figure for each share, the first on top."""
    for row, (share, (low, high)) in enumerate(reversed(list(shares.values()))):
        axes.errorbar(share, row, xerr=[[share - low], [high - share]], fmt="o", ms=4, color="C0")
        axes.annotate(
            f"{100 * share:.1f}",
            (share, row),
            (0, 4),
            textcoords="offset points",
            ha="center",
            size=8,
        )
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    axes.margins(x=0.1, y=0.08)


def _shortened(name: str) -> str:
    return (
        textwrap.shorten(name, _NAME_LENGTH, placeholder="…")
        if " " in name
        else (name if len(name) <= _NAME_LENGTH else f"…{name[1 - _NAME_LENGTH :]}")
    )
