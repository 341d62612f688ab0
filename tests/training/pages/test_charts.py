import pytest

from training.pages.chart import Chart
from training.pages.drawing import WIDTH
from training.pages.rows import RowValue, matrix_chart, rows_chart, shortened
from training.pages.scales import Linear, Logarithmic, Percentiles, either, linear, logarithmic


def chart(y=None):
    """Return an empty chart; both axes go from 0 to 10 by default."""
    return Chart(Linear(0, 10), y or Linear(0, 10), x_label="x", y_label="y", name="n")


@pytest.mark.parametrize(
    ("scale", "labels"),
    [
        pytest.param(Linear(0, 10), ["0", "2", "4", "6", "8", "10"], id="linear"),
        pytest.param(Linear(0.5, 1.5, whole=True), ["1"], id="one-epoch"),
        pytest.param(Linear(1, 3, whole=True), ["1", "2", "3"], id="three-epochs"),
        pytest.param(Linear(1, 60, whole=True), ["10", "20", "30", "40", "50", "60"], id="epochs"),
        pytest.param(Logarithmic(1, 20), ["1", "2", "5", "10", "20"], id="logarithmic"),
        pytest.param(Percentiles(99.9), ["0", "50", "90", "99", "99.9"], id="percentiles"),
    ],
)
def test_ticks_are_round_numbers(scale, labels):
    """The ticks have the expected labels, and each tick is on the axis."""
    assert [text for _, text in scale.ticks()] == labels
    assert all(-0.001 <= scale.share(value) <= 1.001 for value, _ in scale.ticks())


def test_a_scale_holds_its_values_with_room():
    """A scale of equal values has a width; values that differ over twentyfold are logarithmic."""
    assert linear([3.0, 3.0], zero=False).low < 3 < linear([3.0, 3.0], zero=False).high
    assert linear([0.0], zero=False).high > 0
    assert isinstance(either([1, 20]), Linear)
    assert isinstance(either([1, 21]), Logarithmic)
    assert logarithmic([0, 1, 10]).low == 0.8


def test_long_tick_labels_stay_inside_the_drawing():
    """The left margin grows with the tick labels, so that they do not reach the axis label."""
    wide = chart(Linear(0.00091, 0.00109)).drawing()

    ticks = [one for one in wide.shapes if one.attributes.get("class") == "tick end"]
    longest = max(ticks, key=lambda one: len(one.text))
    assert len(longest.text) > 6
    assert float(longest.attributes["x"]) - 7 * len(longest.text) > 20


def test_the_same_note_is_not_written_over_itself():
    """Two curves that end at nearly the same point have one label."""
    drawn = chart()
    for point in ((5, 5), (5.1, 5.1), (9, 9)):
        drawn.note(point, "32")

    assert [shape.text for shape in drawn.drawing().shapes].count("32") == 2


@pytest.mark.parametrize(
    ("names", "side", "turned"),
    [
        pytest.param(["circle", "cross", "ring"], 64, False, id="three"),
        pytest.param(["circle", "a longer name", "ring"], 64, True, id="long-name"),
        pytest.param([f"class {number}" for number in range(10)], 34, True, id="ten"),
        pytest.param([f"class {number}" for number in range(26)], 9, True, id="many"),
    ],
)
def test_a_matrix_of_few_columns_has_large_cells(names, side, turned):
    """The cells fill the drawing up to a limit; names that are wider than a cell are turned."""
    counts = [[1] * len(names)] * len(names)
    drawing = matrix_chart(
        names, names, counts, style="m0", name="n", cell_text=lambda count, _: f"{count}"
    )

    cells = sorted({float(one.attributes["x"]) for one in drawing.shapes if one.tag == "rect"})
    assert cells[1] - cells[0] == pytest.approx(side)
    assert any("transform" in one.attributes for one in drawing.shapes) is turned
    assert cells[-1] + side < drawing.width


def test_values_outside_the_axes_are_drawn_on_the_edge():
    """The marker of a point far outside the axes is drawn inside the chart."""
    drawn = chart()
    drawn.mark((99, -99), "m0", "circle", "far away")

    (marker,) = [shape for shape in drawn.drawing().shapes if shape.title == "far away"]
    assert float(marker.attributes["cx"]) <= WIDTH
    assert float(marker.attributes["cy"]) <= 300


def test_rows_have_bars_through_their_markers_and_notes_above():
    """A long label is shortened, with its full text as a tooltip; bar and note are drawn."""
    label = "a very long name of a run folder"
    value = RowValue(0, 50, "m0", "circle", "half", interval=(40, 60), note="50.0")

    drawing = rows_chart([label], [value], Linear(0, 100), x_label="x", name="n")

    shapes = drawing.shapes
    assert [shape.text for shape in shapes if shape.title == label] == [shortened(label)]
    assert any(shape.attributes.get("class") == "bar m0" for shape in shapes)
    assert "50.0" in [shape.text for shape in shapes]


def test_a_shortened_text_keeps_both_ends():
    """An ellipsis replaces the middle, because folder names differ more often at their ends."""
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghijk", 10) == "abcd…ghijk"
