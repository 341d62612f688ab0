"""Charts with named rows: values of categories on one axis, and matrices of shares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.pages.drawing import WIDTH, Drawing, Marker, marker, shape
from training.pages.scales import Linear

_RIGHT, _TOP = 14, 10
_STEP = 24
_LETTER = 7.6  # mean width of a letter on a phone
_LONGEST = 22
_CELL, _MOST_CELL = 34, 64
# With more columns cells are small, have no text, and some names are left out.
_MOST_LARGE_CELLS = 25
_SMALL_CELL = 9
_LINE = 15  # height of a name


@dataclass(frozen=True)
class RowValue:
    """A value in a row.

    Attributes:
        row: Number of the row, from 0 at the top.
        value: The value on the axis.
        style: Style classes of the marker.
        shape: Shape of the marker.
        text: Tooltip of the marker.
        interval: Both ends of a bar through the marker; None for no bar.
        note: Text above the marker; empty for none.
    """

    row: int
    value: float
    style: str
    shape: Marker
    text: str
    interval: tuple[float, float] | None = None
    note: str = ""


def rows_chart(
    labels: Sequence[str],
    values: Sequence[RowValue],
    scale: Linear,
    *,
    x_label: str,
    name: str,
    step: float = _STEP,
) -> Drawing:
    """Return a chart with a row for each label.

    Args:
        labels: Names of the rows, the top one first; long ones are shortened in the middle.
        values: The values; a row may have any number of them.
        scale: Scale of the horizontal axis.
        x_label: Quantity on the horizontal axis, with its unit.
        name: What the chart shows, for screen readers.
        step: Height of a row in user units; rows with notes need 30.
    """
    shown = [shortened(label) for label in labels]
    left = 14 + _LETTER * max(map(len, shown), default=0)
    right, bottom = WIDTH - _RIGHT, _TOP + step * len(labels)

    def across(value: float) -> float:
        return left + scale.share(value) * (right - left)

    def down(row: int) -> float:
        return _TOP + step * (row + 0.5)

    drawn = []
    for value, text in scale.ticks():
        x = across(value)
        drawn.append(shape("line", style="grid", x1=x, x2=x, y1=_TOP, y2=bottom))
        drawn.append(shape("text", text, style="tick middle", x=x, y=bottom + 17))
    for row, label in enumerate(shown):
        y = down(row)
        drawn.append(shape("line", style="grid", x1=left, x2=right, y1=y, y2=y))
        title = labels[row] if label != labels[row] else ""
        drawn.append(shape("text", label, style="tick end", title=title, x=left - 7, y=y + 4.5))
    for item in values:
        x, y = across(item.value), down(item.row)
        if item.interval is not None:
            low, high = (across(bound) for bound in item.interval)
            drawn.append(shape("path", style=f"bar {item.style}", d=f"M{low:.2f} {y:g}H{high:.2f}"))
        drawn.append(marker(x, y, item.style, item.shape, item.text))
        if item.note:
            drawn.append(shape("text", item.note, style="note halo middle", x=x, y=y - 8))
    # Beside long names the middle is near the right edge, where a long label would be cut off.
    middle = min((left + right) / 2, WIDTH - _LETTER / 2 * len(x_label))
    drawn.append(shape("text", x_label, style="label middle", x=middle, y=bottom + 38))
    return Drawing(name, WIDTH, bottom + 44, drawn)


def matrix_chart(
    labels: Sequence[str],
    columns: Sequence[str],
    counts: Sequence[Sequence[int]],
    *,
    style: str,
    name: str,
    cell_text: Callable[[int, float], str],
) -> Drawing:
    """Return a matrix of counts; the shade of a cell is its share of the row.

    A few columns have larger cells, and names above them that are not turned if they fit. With more
    than 25 columns the cells are small, and have their numbers in the tooltips alone.

    Args:
        labels: Names of the rows.
        columns: Names of the columns.
        counts: A row for each label, with at least as many counts as columns.
        style: Style class of the colour.
        name: What the matrix shows, for screen readers.
        cell_text: Returns a cell's text from its count and its share of the row; may be empty.
    """
    is_large = len(columns) > _MOST_LARGE_CELLS
    longest = max((len(shortened(label)) for label in (*labels, *columns)), default=0)
    left = max(82.0, 8 + _LETTER * longest)
    fitting = int((WIDTH - left - 12) / max(1, len(columns)))
    cell, gap = max(_CELL, min(_MOST_CELL, fitting)), 1.0
    if is_large:
        cell, gap = _SMALL_CELL, 0.5
    named = -(-_LINE // cell)  # every so many names there is room for one
    is_turned = _LETTER * max((len(shortened(name)) for name in columns), default=0) > cell
    top = max(78.0, 12 + 6.4 * longest) if is_turned else 26.0
    drawn = []
    for column, column_name in list(enumerate(columns))[::named]:
        x, text = left + cell * (column + 0.5), shortened(column_name)
        if is_turned:
            turned = f"translate({x + 4:g} {top - 8:g}) rotate(-55)"
            drawn.append(shape("text", text, style="tick", transform=turned))
        else:
            drawn.append(shape("text", text, style="tick middle", x=x, y=top - 8))
    for row, label in enumerate(labels):
        y, total = top + cell * row, sum(counts[row])
        if row % named == 0:
            middle = y + cell / 2 + 4.5
            drawn.append(shape("text", shortened(label), style="tick end", x=left - 7, y=middle))
        for column, count in enumerate(counts[row][: len(columns)]):
            if is_large and not count:
                continue
            share = count / total if total else 0.0
            opacity = share**0.6  # more than proportional, so that a share of 2 % is visible
            drawn.append(
                shape(
                    "rect",
                    style=f"cell {style}",
                    title=f"{label} answered as {columns[column]}: {count:,} of {total:,}",
                    fill_opacity=opacity,
                    x=left + cell * column + gap,
                    y=y + gap,
                    width=cell - 2 * gap,
                    height=cell - 2 * gap,
                    rx=3 * gap,
                )
            )
            if not is_large and (text := cell_text(count, share)):
                strong = " strong" if opacity > 0.62 else ""
                x = left + cell * (column + 0.5)
                drawn.append(
                    shape("text", text, style=f"count middle{strong}", x=x, y=y + cell / 2 + 4.5)
                )
    # A turned name reaches beyond its column.
    ends = [
        left + cell * (column + 0.5) + 8 + 4.6 * len(shortened(column_name))
        for column, column_name in list(enumerate(columns))[::named]
    ]
    width = max(WIDTH if len(columns) < 10 else 0, left + cell * len(columns) + 12, *ends)
    height = top + cell * len(labels) + 6
    return Drawing(name, width, height, drawn)


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Return the text; if it is too long, its beginning and its end around an ellipsis."""
    if len(text) <= longest:
        return text
    head = (longest - 1) // 2
    return f"{text[:head]}…{text[head + 1 - longest :]}"
