"""The figures of a training report."""

import base64
import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.evaluation.accuracy import wilson_interval
from training.pages.chart import Chart, Point
from training.pages.drawing import COLOURS, DASHES, WIDTH, Drawing, Figure, Legend, missing, shape
from training.pages.rows import RowValue, matrix_chart, rows_chart, shortened
from training.pages.scales import Linear, linear

Interval = tuple[float, float]
History = Sequence[Mapping[str, float]]

# Markers of more epochs than this would touch each other.
_MOST_MARKERS = 30
_ROW_UNITS = 32.0
# Rows of more classes than this fill several screens.
_MOST_CLASSES = 25
_GAP = 10.0
_LINE_UNITS = 15.0
_LETTER_UNITS = 6.4


def curves(
    history: History, columns: Mapping[str, str], *, title: str, y_label: str, alt: str
) -> Figure:
    """Return the curves of columns of one history over the epochs.

    Args:
        history: A row for each epoch, see training.run.callbacks.HISTORY_COLUMNS.
        columns: Name in the legend of each column to draw; a single one has no legend.
        title: Title of the figure.
        y_label: Quantity on the vertical axis, with its unit. With "%", shares are drawn in per
            cent.
        alt: What the chart shows, for pages that cannot show it.
    """
    lines = {name: _points(history, column, y_label) for column, name in columns.items()}
    return _curves(lines, title=title, y_label=y_label, alt=alt)


def validation_curves(histories: Mapping[str, History], alt: str) -> Figure:
    """Return the validation accuracy over the epochs, a line for each run."""
    y_label = "accuracy (%)"
    lines = {name: _points(rows, "val_accuracy", y_label) for name, rows in histories.items()}
    return _curves(lines, title="Validation accuracy", y_label=y_label, alt=alt)


def accuracies(
    measured: Mapping[str, tuple[float, Interval]], published: Mapping[str, float], alt: str
) -> Figure:
    """Return the test accuracy of each run with its 95 % interval, and published figures."""
    values = [_share(row, name, *shares) for row, (name, shares) in enumerate(measured.items())]
    values += [
        RowValue(
            row=row,
            value=100 * share,
            style="m1 hollow",
            shape="diamond",
            text=f"{name}: {100 * share:.2f} %",
            note=f"{100 * share:.2f}",
        )
        for row, (name, share) in enumerate(published.items(), start=len(measured))
    ]
    drawing = rows_chart(
        [*measured, *published],
        values,
        _around(values),
        x_label="test images classified correctly (%)",
        name=alt,
        step=_ROW_UNITS,
    )
    caption = "Bars: 95 % intervals." + (" Diamonds: published figures." if published else "")
    return Figure("Test accuracy", drawing, caption)


def class_accuracies(
    matrix: Sequence[Sequence[int]], class_names: Sequence[str], alt: str
) -> Figure:
    """Return the accuracy of each class that has images, with its 95 % interval.

    Of more than 25 classes, those with the lowest accuracy are shown, the lowest first.
    """
    shares = {
        name: (counts[label] / total, wilson_interval(counts[label], total))
        for label, (name, counts) in enumerate(zip(class_names, matrix, strict=True))
        if (total := sum(counts))
    }
    caption = "Bars: 95 % intervals."
    if len(shares) > _MOST_CLASSES:
        lowest = sorted(shares, key=lambda name: shares[name][0])[:_MOST_CLASSES]
        caption = (
            f"The {_MOST_CLASSES} of {len(shares)} classes with the lowest accuracy; the table "
            f"has all. {caption}"
        )
        shares = {name: shares[name] for name in lowest}
    values = [_share(row, name, *share) for row, (name, share) in enumerate(shares.items())]
    drawing = rows_chart(
        list(shares),
        values,
        _around(values),
        x_label="images of the class classified correctly (%)",
        name=alt,
        step=_ROW_UNITS,
    )
    return Figure("Accuracy by class", drawing, caption)


def confusion_matrix(
    matrix: Sequence[Sequence[int]], class_names: Sequence[str], alt: str
) -> Figure:
    """Return the counts of test images by label and answer."""
    drawing = matrix_chart(
        class_names,
        class_names,
        matrix,
        style="m0",
        name=alt,
        cell_text=lambda count, _: f"{count}",
    )
    return Figure("Confusion matrix", drawing, "Row: the label; column: the answer; images.")


def pictures(
    images: npt.NDArray[np.uint8],
    captions: Sequence[str],
    *,
    columns: int,
    title: str,
    alt: str,
) -> Figure:
    """Return pictures in rows, enlarged pixel by pixel, with a caption below each.

    Args:
        images: uint8, shape (n, height, width, 3).
        captions: n texts of one or more lines.
        columns: Pictures in a row.
        title: Title of the figure.
        alt: What the pictures show, for pages that cannot show them.
    """
    side = (WIDTH - _GAP * (columns + 1)) / columns
    lines = 1 + max(caption.count("\n") for caption in captions)
    height = side + lines * _LINE_UNITS + _GAP
    drawn = []
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(number, columns)
        x, y = _GAP + column * (side + _GAP), row * height
        content = io.BytesIO()
        Image.fromarray(image).save(content, format="PNG")
        address = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
        drawn.append(shape("image", href=address, x=x, y=y, width=side, height=side))
        drawn += [
            shape(
                "text",
                shortened(text, int(side / _LETTER_UNITS)),
                style="tick middle",
                x=x + side / 2,
                y=y + side + _LINE_UNITS * (line + 0.9),
            )
            for line, text in enumerate(caption.split("\n"))
        ]
    return Figure(title, Drawing(alt, WIDTH, height * math.ceil(len(images) / columns), drawn))


def _points(history: History, column: str, y_label: str) -> list[Point]:
    """Return (epoch, value) pairs without the values that are not finite."""
    factor = 100 if "%" in y_label else 1
    return [(row["epoch"], factor * row[column]) for row in history if math.isfinite(row[column])]


def _curves(lines: Mapping[str, Sequence[Point]], *, title: str, y_label: str, alt: str) -> Figure:
    points = [point for line in lines.values() for point in line]
    if not points:
        return missing(title, f"{title}: no epoch has a finite value.")
    last = max(epoch for epoch, _ in points)
    chart = Chart(
        Linear(0.5 if last == 1 else 1, last + (0.5 if last == 1 else 0), whole=True),
        linear((value for _, value in points), zero=False),
        x_label="epoch",
        y_label=y_label,
        name=alt,
    )
    entries = []
    for number, (name, line) in enumerate(lines.items()):
        colour, dashes = f"m{number % COLOURS}", f"d{number // COLOURS % DASHES}"
        chart.line(line, f"{colour} {dashes}")
        if last <= _MOST_MARKERS:
            for epoch, value in line:
                text = f"{name}, epoch {epoch:g}: {value:,.4g}"
                chart.mark((epoch, value), f"{colour} small", "circle", text)
        entries.append(Legend(name, line=f"{colour} {dashes}"))
    return Figure(title, chart.drawing(), legend=entries if len(lines) > 1 else ())


def _share(row: int, name: str, share: float, interval: Interval) -> RowValue:
    low, high = interval
    return RowValue(
        row=row,
        value=100 * share,
        style="m0",
        shape="circle",
        text=f"{name}: {100 * share:.2f} % ({100 * low:.2f} to {100 * high:.2f})",
        interval=(100 * low, 100 * high),
        note=f"{100 * share:.1f}",
    )


def _around(values: Sequence[RowValue]) -> Linear:
    """Return a scale that holds the values and their intervals."""
    ends = [end for item in values for end in (item.interval or (item.value, item.value))]
    return linear(ends or [0, 100], zero=False)
