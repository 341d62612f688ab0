"""The two pictures of a run: learning curves and confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure  # not pyplot: no window system, no global state
from matplotlib.ticker import MaxNLocator

from training.cifar10 import CLASS_NAMES


def save_curves(path: Path, history: Sequence[dict[str, float]], title: str) -> None:
    """Draw accuracy and loss over the epochs, training and validation, as PNG."""
    epochs = [int(row["epoch"]) for row in history]
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    for axes, quantity, label in zip(
        figure.subplots(1, 2), ("accuracy", "loss"), ("Accuracy", "Loss (nats)"), strict=True
    ):
        # A single epoch is no line, so points are marked as long as they can be told apart.
        marker = "o" if len(epochs) <= 30 else None
        for key, name in ((quantity, "training"), (f"val_{quantity}", "validation")):
            axes.plot(epochs, [row[key] for row in history], marker=marker, ms=3, label=name)
        axes.set(title=label.partition(" ")[0], xlabel="Epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def save_confusion_matrix(path: Path, matrix: Sequence[Sequence[int]], title: str) -> None:
    """Draw a confusion matrix as PNG: counts in the cells, colour = share of the row."""
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="Share of the label's images")
    ticks = range(len(CLASS_NAMES))
    axes.set_xticks(ticks, CLASS_NAMES, rotation=45, ha="right")
    axes.set_yticks(ticks, CLASS_NAMES)
    axes.set(title=title, xlabel="Predicted class", ylabel="Label")
    for row, column in np.ndindex(counts.shape):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(
            column, row, str(counts[row, column]), ha="center", va="center", color=colour, size=8
        )
    figure.savefig(path, dpi=120)
