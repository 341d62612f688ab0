"""Learning curves and confusion matrices, on axes for a report and as the two files of a run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure  # not pyplot: no window system, no global state
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from training.data.cifar10 import CLASS_NAMES

_MATRIX_COLOUR = "#08519c"
_GAMMA = 0.6


def save_curves(path: Path, history: Sequence[dict[str, float]], title: str) -> None:
    """Draw accuracy and loss over the epochs, training and validation, as PNG."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    for axes, quantity, label in zip(
        figure.subplots(1, 2), ("accuracy", "loss"), ("Accuracy", "Loss (nats)"), strict=True
    ):
        draw_curves(axes, history, {quantity: "training", f"val_{quantity}": "validation"}, label)
        axes.set_title(label.partition(" ")[0])
    figure.savefig(path, dpi=120)


def save_confusion_matrix(path: Path, matrix: Sequence[Sequence[int]], title: str) -> None:
    """Draw a confusion matrix as PNG: counts in the cells, colour = share of the row."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    image = draw_confusion_matrix(axes, matrix)
    axes.set_title(title)
    figure.colorbar(image, label="Share of the label's images")
    figure.savefig(path, dpi=120)


def draw_curves(
    axes: Axes, history: Sequence[dict[str, float]], columns: dict[str, str], label: str
) -> None:
    """Draw columns of a history over the epochs.

    Args:
        axes: Where to.
        history: A row for each epoch, see training.run.callbacks.HISTORY_COLUMNS.
        columns: Name in the legend of each column to draw; no legend for a single one.
        label: Label of the y axis, with the unit.
    """
    epochs = [int(row["epoch"]) for row in history]
    # A single epoch is no line, so points are marked as long as they can be told apart.
    marker = "o" if len(epochs) <= 30 else None
    for column, name in columns.items():
        axes.plot(epochs, [row[column] for row in history], marker=marker, ms=3, label=name)
    axes.set(xlabel="Epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    if len(columns) > 1:
        # Beside the end of curves that fall or rise; to search for the best place takes its time.
        falls = all(history[-1][column] < history[0][column] for column in columns)
        axes.legend(loc="upper right" if falls else "lower right")


def draw_confusion_matrix(axes: Axes, matrix: Sequence[Sequence[int]]) -> AxesImage:
    """Draw a confusion matrix: counts in the cells, colour = share of the row.

    The colour fades into the background, so that it suits light and dark ones.
    """
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    fade = LinearSegmentedColormap.from_list("fade", [f"{_MATRIX_COLOUR}00", _MATRIX_COLOUR])
    # Not in proportion: a mistake made in one case of fifty must be seen, too.
    image = axes.imshow(shares, cmap=fade, norm=PowerNorm(_GAMMA, vmin=0, vmax=1))
    ticks = range(len(CLASS_NAMES))
    axes.set_xticks(ticks, CLASS_NAMES, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, CLASS_NAMES)
    axes.set(xlabel="Predicted class", ylabel="Label")
    for row, column in np.ndindex(counts.shape):
        colour = "white" if shares[row, column] ** _GAMMA > 0.5 else rcParams["text.color"]
        axes.text(
            column, row, str(counts[row, column]), ha="center", va="center", color=colour, size=8
        )
    return image
