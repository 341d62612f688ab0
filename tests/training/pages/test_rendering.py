import pytest
from jinja2 import UndefinedError

from training.pages.drawing import Drawing, Figure, Legend, missing, number, shape
from training.pages.rendering import render, standalone_svg

HOSTILE = '"><script>alert(1)</script>\x00'


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return the name of an importable package whose template extends the kit's template."""
    folder = tmp_path / "a_report"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "page.html").write_text(
        '{% extends "kit/base.html" %}'
        '{% from "kit/macros.html" import cell, figure, table %}'
        "{% block title %}{{ name }}{% endblock %}"
        "{% block content %}<p>{{ name }}</p>{{ table(('a', 'b'), rows, (1,)) }}"
        "{% for one in figures %}{{ figure(one) }}{% endfor %}{% endblock %}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_every_text_is_escaped_and_forbidden_characters_are_replaced(package):
    """Markup is escaped and forbidden characters are replaced in text, attributes and SVG."""
    drawing = Drawing(HOSTILE, 10, 10, [shape("text", HOSTILE, title=HOSTILE, href=HOSTILE)])
    figure = Figure(HOSTILE, drawing, HOSTILE, [Legend(HOSTILE)])

    page = render(package, "page.html", name=HOSTILE, rows=[(HOSTILE, "1")], figures=[figure])

    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 10
    assert page.count("\N{REPLACEMENT CHARACTER}") == 9


def test_a_byte_of_a_file_name_that_is_no_text_is_shown_by_its_code(package):
    """A byte of a folder name that is not UTF-8 is shown as its code; the page is valid UTF-8."""
    page = render(package, "page.html", name="run-\udcff", rows=[], figures=[])

    assert r"<p>run-\udcff</p>" in page
    assert page.encode()


def test_a_name_that_the_template_does_not_know_is_an_error(package):
    """If the template uses a name that it did not get, render raises UndefinedError."""
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        render(package, "page.html", rows=[], figures=[])


def test_a_page_fetches_nothing_and_suits_light_and_dark(package):
    """The page's security policy forbids all requests, and its style sheet has a dark scheme."""
    page = render(package, "page.html", name="n", rows=[], figures=[])

    assert "content=\"default-src 'none'; style-src 'unsafe-inline'\"" in page
    assert "@media (prefers-color-scheme: dark)" in page
    assert 'name="viewport"' in page
    assert "url(" not in page


def test_a_standalone_figure_has_title_and_legend():
    """The SVG file holds the figure's title and legend, and has room for them."""
    figure = Figure("Loss", Drawing("alt", 440, 300, []), "", [Legend("training", line="m0")])

    text = standalone_svg(figure)

    assert text.startswith("<svg xmlns=")
    assert ">Loss</text>" in text
    assert ">training</text>" in text
    assert 'height="362"' in text


def test_a_figure_without_a_drawing_has_no_file():
    """standalone_svg raises ValueError with the reason why the figure has no drawing."""
    with pytest.raises(ValueError, match="'Loss' has no drawing: diverged"):
        standalone_svg(missing("Loss", "diverged"))


@pytest.mark.parametrize(("value", "text"), [(1, "1"), (0.5, "0.5"), (1 / 3, "0.33"), (-0.0, "-0")])
def test_coordinates_have_two_digits_at_most(value, text):
    """Coordinates are written with at most two digits after the point, to keep pages small."""
    assert number(value) == text
