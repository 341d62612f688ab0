"""Tests of the tables that the commands print."""

import numpy as np
import pytest

from serving.clients.commands.tables import outputs_table, printable, table


def test_numbers_are_aligned_to_the_right_and_texts_to_the_left():
    """A column is as wide as its widest cell, and lines have no spaces at their ends."""
    assert table(("name", "n", "text"), [("a", 1, "x"), ("long", 100, "")]).splitlines() == [
        "name    n  text",
        "a       1  x",
        "long  100",
    ]
    assert table(("version", "state"), []) == "version  state"


def test_outputs_have_a_line_for_each_row():
    """Vectors are cut after ten values, strings are text, and names replace numbers of rows."""
    outputs = {
        "wide": np.arange(24).reshape(2, 12),
        "text": np.array([b"a\nb", b"\xff"], object),
        "is": np.array([True, False]),
    }

    lines = outputs_table(outputs, ["x.png", "y.png"]).splitlines()
    assert lines[0].split() == ["picture", "is", "text", "wide"]
    assert lines[1].split(maxsplit=3) == [
        "x.png",
        "True",
        r"a\nb",
        "0 1 2 3 4 5 6 7 8 9 ... (12 values)",
    ]
    assert lines[2].split()[2] == r"\xff"


@pytest.mark.parametrize(
    "outputs",
    [
        {"a": np.float32(0.5), "b": np.arange(3)},
        {"a": np.full(1, 0.5, np.float32), "b": np.arange(3)},
    ],
)
def test_outputs_without_common_rows_have_a_line_each(outputs):
    """Scalars, or outputs of different lengths, are listed with dtype and shape."""
    lines = outputs_table({name: np.asarray(array) for name, array in outputs.items()}, None)

    assert lines.splitlines()[0].split() == ["output", "dtype", "shape", "values"]
    assert lines.splitlines()[1].split()[:2] == ["a", "float32"]
    assert lines.splitlines()[2].split() == ["b", "int64", "(3,)", "0", "1", "2"]


def test_control_characters_are_escaped():
    """A server's text cannot move the cursor or begin a new line."""
    assert printable("a\x1b[2J\nb é") == r"a\x1b[2J\nb é"
