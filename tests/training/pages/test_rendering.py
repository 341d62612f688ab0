import pytest
from jinja2 import UndefinedError

from training.pages.drawing import Drawing, Figure, Legend, missing, number, shape
from training.pages.rendering import render, standalone_svg

HOSTILE = '"><script>alert(1)</script>\x00'


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package with a template that extends the kit's."""
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
    """In text, in attributes and in SVG alike."""
    drawing = Drawing(HOSTILE, 10, 10, [shape("text", HOSTILE, title=HOSTILE, href=HOSTILE)])
    figure = Figure(HOSTILE, drawing, HOSTILE, [Legend(HOSTILE)])

    page = render(package, "page.html", name=HOSTILE, rows=[(HOSTILE, "1")], figures=[figure])

    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 10
    assert page.count("\N{REPLACEMENT CHARACTER}") == 9


def test_a_byte_of_a_file_name_that_is_no_text_is_shown_by_its_code(package):
    """The page is valid UTF-8 whatever a run's folder is called."""
    page = render(package, "page.html", name="run-\udcff", rows=[], figures=[])

    assert r"<p>run-\udcff</p>" in page
    assert page.encode()


def test_a_name_that_the_template_does_not_know_is_an_error(package):
    """A page is never written with a gap in it."""
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        render(package, "page.html", rows=[], figures=[])


def test_a_page_fetches_nothing_and_suits_light_and_dark(package):
    """The policy forbids every request; colours follow the reader's settings."""
    page = render(package, "page.html", name="n", rows=[], figures=[])

    assert "content=\"default-src 'none'; style-src 'unsafe-inline'\"" in page
    assert "@media (prefers-color-scheme: dark)" in page
    assert 'name="viewport"' in page
    assert "url(" not in page


def test_a_standalone_figure_has_title_and_legend():
    """The file needs no page around it."""
    figure = Figure("Loss", Drawing("alt", 440, 300, []), "", [Legend("training", line="m0")])

    text = standalone_svg(figure)

    assert text.startswith("<svg xmlns=")
    assert ">Loss</text>" in text
    assert ">training</text>" in text
    assert 'height="362"' in text


def test_a_figure_without_a_drawing_has_no_file():
    """The error says why there is none."""
    with pytest.raises(ValueError, match="'Loss' has no drawing: diverged"):
        standalone_svg(missing("Loss", "diverged"))


@pytest.mark.parametrize(("value", "text"), [(1, "1"), (0.5, "0.5"), (1 / 3, "0.33"), (-0.0, "-0")])
def test_coordinates_have_two_digits_at_most(value, text):
    """More digits cost bytes and show nothing."""
    assert number(value) == text
