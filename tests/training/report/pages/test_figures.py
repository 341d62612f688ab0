import math

import numpy as np
import pytest

from training.pages.rendering import standalone_svg
from training.report.pages import figures

HISTORY = [
    {"epoch": number, "loss": 2 / number, "val_loss": 3 / number, "val_accuracy": 0.1 * number}
    for number in (1, 2, 3)
]
HOSTILE = r"$\frac{1$ <b>&"


def texts(figure):
    """Return the texts that a drawing shows."""
    return [shape.text for shape in figure.drawing.shapes if shape.text]


def titles(figure):
    """Return the tooltips of the drawing's shapes."""
    return [shape.title for shape in figure.drawing.shapes if shape.title]


def test_a_hostile_name_is_drawn_as_text():
    """Dollar signs and markup in a run's name are drawn, not interpreted; a long name is cut."""
    names = {
        HOSTILE: (0.8, (0.7, 0.9)),
        "a very long name of a run " * 3: (0.8, (0.7, 0.9)),
    }

    figure = figures.accuracies(names, {"published": 0.7}, "alt")

    assert HOSTILE in texts(figure)
    assert "a very lon…e of a run " in texts(figure)
    assert "<b>" not in standalone_svg(figure)
    assert "&lt;b&gt;&amp;" in standalone_svg(figure)


def test_accuracies_are_in_per_cent_with_their_intervals():
    """A marker's tooltip has its share and interval; a published figure has no interval."""
    figure = figures.accuracies({"run": (0.8224, (0.8148, 0.8298))}, {"paper": 0.7161}, "alt")

    assert "run: 82.24 % (81.48 to 82.98)" in titles(figure)
    assert "paper: 71.61 %" in titles(figure)
    assert "82.2" in texts(figure)


def test_curves_have_a_line_and_a_legend_entry_for_each_column():
    """Each epoch has a marker; a figure of a single column has no legend."""
    columns = {"loss": "training", "val_loss": "validation"}
    both = figures.curves(HISTORY, columns, title="Loss", y_label="loss (nats)", alt="alt")
    one = figures.curves(HISTORY, {"loss": "loss"}, title="Loss", y_label="nats", alt="alt")

    assert [entry.text for entry in both.legend] == ["training", "validation"]
    assert len(titles(both)) == 6
    assert "validation, epoch 2: 1.5" in titles(both)
    assert one.legend == ()


@pytest.mark.parametrize("count", [1, 2, 60, 400])
def test_epochs_are_whole_numbers(count):
    """The tick labels of 1 to 400 epochs are whole numbers."""
    history = [{"epoch": number, "loss": 1 / number} for number in range(1, count + 1)]

    figure = figures.curves(history, {"loss": "l"}, title="Loss", y_label="y", alt="alt")

    below = [
        shape.text
        for shape in figure.drawing.shapes
        if shape.attributes.get("class") == "tick middle"
    ]
    assert below
    assert all(text.isdecimal() for text in below)


def test_values_that_are_not_finite_are_left_out():
    """NaN and infinite values get no marker; if no value is finite, the caption says it."""
    values = (math.nan, 2.0, math.inf)
    history = [{"epoch": n, "loss": value} for n, value in enumerate(values, start=1)]

    some = figures.curves(history, {"loss": "l"}, title="Loss", y_label="y", alt="alt")
    none = figures.curves(history[:1], {"loss": "l"}, title="Loss", y_label="y", alt="alt")

    assert titles(some) == ["l, epoch 2: 2"]
    assert none.drawing is None
    assert "no epoch has a finite value" in none.caption


def test_more_runs_than_colours_differ_in_their_dashes():
    """The seventh line has the first line's colour and other dashes."""
    histories = {f"run {number}": HISTORY for number in range(7)}

    legend = figures.validation_curves(histories, "alt").legend

    assert len({entry.line for entry in legend}) == 7
    assert (legend[0].line, legend[6].line) == ("m0 d0", "m0 d1")


def test_a_confusion_matrix_shows_every_count():
    """All counts are shown, also those of a row without images."""
    figure = figures.confusion_matrix([[7, 3], [0, 0]], ["cat", "dog"], "alt")

    assert [text for text in texts(figure) if text.isdecimal()] == ["7", "3", "0", "0"]
    assert "cat answered as dog: 3 of 10" in titles(figure)


def test_pictures_stand_in_rows_with_captions_below():
    """Each picture is a PNG in the page; each line of its caption is a separate text."""
    images = np.zeros((5, 32, 32, 3), np.uint8)

    figure = figures.pictures(images, ["a\nb"] * 5, columns=4, title="Samples", alt="alt")

    shown = [shape for shape in figure.drawing.shapes if shape.tag == "image"]
    assert all(one.attributes["href"].startswith("data:image/png;base64,") for one in shown)
    assert len({one.attributes["y"] for one in shown}) == 2
    assert texts(figure) == ["a", "b"] * 5


def test_of_many_classes_those_with_the_lowest_accuracy_are_shown():
    """25 classes are all shown in their order; of 40 the 25 lowest, as the caption says."""
    names = [f"class {number:02}" for number in range(40)]
    matrix = np.full((40, 40), 1)
    np.fill_diagonal(matrix, np.arange(40, 0, -1))
    few = figures.class_accuracies(matrix[:25, :25].tolist(), names[:25], "alt")
    many = figures.class_accuracies(matrix.tolist(), names, "alt")

    def shown(figure):
        return [text for text in texts(figure) if text.startswith("class ")]

    assert shown(few) == names[:25]
    assert few.caption == "Bars: 95 % intervals."
    assert shown(many) == names[:14:-1]
    assert many.caption.startswith("The 25 of 40 classes with the lowest accuracy; the table has")
