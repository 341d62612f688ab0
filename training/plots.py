"""The learning curves and the confusion matrix of a run, as its two PNG files.

These files are published with the model and shown in its card. Reports draw their charts with
`training.pages` instead.
"""

import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure  # not pyplot: no window system, no global state
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from training import storage

_log = logging.getLogger(__name__)
_NO_GLYPH = "missing from font"
_GAMMA = 0.6
# With more classes, the cells have no counts: their numbers would not be readable.
_MOST_COUNTED = 25


def save_curves(path: Path, history: Sequence[dict[str, float]], title: str) -> None:
    """Draw accuracy and loss of training and validation over the epochs, as PNG.

    Args:
        path: The file.
        history: A row for each epoch, see training.run.callbacks.HISTORY_COLUMNS.
        title: Title of the picture.

    Raises:
        StorageError: The file cannot be written.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    for axes, quantity, label in zip(
        figure.subplots(1, 2), ("accuracy", "loss"), ("Accuracy", "Loss (nats)"), strict=True
    ):
        _draw_curves(axes, history, {quantity: "training", f"val_{quantity}": "validation"}, label)
        axes.set_title(label.partition(" ")[0])
    _save(figure, path)


def save_confusion_matrix(
    path: Path, matrix: Sequence[Sequence[int]], title: str, class_names: Sequence[str]
) -> None:
    """Draw a confusion matrix as PNG: counts in the cells, colour = share of the row.

    With more than 25 classes the colours alone show the shares, and with more than 50 some names
    are left out, at equal distances.

    Raises:
        StorageError: The file cannot be written.
    """
    # Inches; ten classes fit into 8 by 7, and a hundred into 14 by 13.
    side = 7 + 6 * min(1, max(0, len(class_names) - 10) / 90)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = _draw_confusion_matrix(axes, matrix, class_names)
    axes.set_title(title)
    figure.colorbar(image, label="Share of the label's images")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        figure.savefig(content, dpi=120, format="png")
    missing = [each for each in found if _NO_GLYPH in str(each.message)]
    for each in found:
        if each not in missing:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    if missing:
        _log.warning("%s has boxes for letters that Matplotlib's fonts lack", path)
    storage.write(path, content.getbuffer())


def _draw_curves(
    axes: Axes, history: Sequence[dict[str, float]], columns: dict[str, str], label: str
) -> None:
    epochs = [int(row["epoch"]) for row in history]
    # A single epoch has no line, so points are marked as long as they do not touch each other.
    marker = "o" if len(epochs) <= 30 else None
    for column, name in columns.items():
        axes.plot(epochs, [row[column] for row in history], marker=marker, ms=3, label=name)
    axes.set(xlabel="Epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    # At the end where the curves leave room; Matplotlib's search for the best place is slow.
    falls = all(history[-1][column] < history[0][column] for column in columns)
    axes.legend(loc="upper right" if falls else "lower right")


def _draw_confusion_matrix(
    axes: Axes, matrix: Sequence[Sequence[int]], class_names: Sequence[str]
) -> AxesImage:
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    colours = LinearSegmentedColormap.from_list("shares", ["white", "#08519c"])
    # Not in proportion, so that one mistake in fifty is visible.
    image = axes.imshow(shares, cmap=colours, norm=PowerNorm(_GAMMA, vmin=0, vmax=1))
    count = len(class_names)
    ticks = range(0, count, 1 + (count - 1) // 50)
    names = [class_names[tick] for tick in ticks]
    angle, size = (45, None) if count <= _MOST_COUNTED else (90, 7)
    axes.set_xticks(ticks, names, rotation=angle, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(ticks, names, fontsize=size)
    axes.set(xlabel="Predicted class", ylabel="Label")
    if count > _MOST_COUNTED:
        return image
    for row, column in np.ndindex(counts.shape):
        colour = "white" if shares[row, column] ** _GAMMA > 0.5 else "black"
        axes.text(
            column, row, str(counts[row, column]), ha="center", va="center", color=colour, size=8
        )
    return image
