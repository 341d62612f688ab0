"""The PNG files of a run."""

from PIL import Image

from training import plots


def test_letters_that_no_font_has_are_told(tmp_path, caplog):
    """A class name in a script that Matplotlib has no font for is a line in the log, no warning."""
    file = tmp_path / "matrix.png"
    plots.save_confusion_matrix(file, [[1, 0], [0, 1]], "title", ["ship", "\U00010480"])

    assert f"{file} has boxes for letters" in caplog.text
    with Image.open(file) as image:
        assert image.size[0] > 100


def test_letters_that_the_font_has_are_not_told(tmp_path, caplog):
    """Latin, Greek and Cyrillic names are drawn."""
    file = tmp_path / "matrix.png"
    names = ["Flugzeug \u00e4\u00df", "\u03c0\u03bb\u03bf\u03af\u03bf"]
    plots.save_confusion_matrix(file, [[1, 0], [0, 1]], "title", names)

    assert caplog.text == ""
