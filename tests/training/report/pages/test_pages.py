from xml.dom import minidom

import pytest

from training.pages.drawing import Drawing, Figure, Legend, missing, shape
from training.report.pages import html_page, markdown_page
from training.report.pages.blocks import (
    Bullets,
    Card,
    Cards,
    Code,
    Details,
    Gallery,
    Heading,
    Notice,
    Page,
    Paragraph,
    Picture,
    Table,
)

HOSTILE = '<script>alert("1")</script> & `a|b` [c](d) *e* _f_ $g$'


@pytest.fixture
def page():
    """Return a page with every kind of block; every text in it contains markup."""
    drawing = Drawing(HOSTILE, 10, 10, [shape("text", HOSTILE, title=HOSTILE)])
    figure = Figure(HOSTILE, drawing, HOSTILE, [Legend(HOSTILE, line="m0")])
    picture = Picture("empty", figure)
    blocks = [
        Heading(HOSTILE),
        Paragraph(HOSTILE),
        Notice(HOSTILE),
        Bullets([HOSTILE]),
        Code(f"```{HOSTILE}"),
        Table((HOSTILE, "n"), [(HOSTILE, "1")]),
        Gallery([picture]),
        Cards([Card(HOSTILE, HOSTILE, HOSTILE)]),
        Details(HOSTILE, [Paragraph(HOSTILE)]),
    ]
    return Page(HOSTILE, HOSTILE, blocks)


def test_html_escapes_every_text(page):
    """No text of a page becomes markup, in elements or in attributes."""
    html = html_page.render(page)

    assert "<script" not in html
    assert 'alert("1")' not in html
    # Title twice, lead, navigation; paragraph, heading, notice, item, code, two texts of the
    # table, six of the figure, three of the card, fold and its paragraph.
    assert html.count("&lt;script&gt;") == 4 + 5 + 2 + 6 + 3 + 2


def test_markdown_escapes_every_text(page):
    """Neither HTML nor Markdown syntax in a text has an effect outside code blocks."""
    lines = markdown_page.render(page).splitlines()
    begin, end = (number for number, line in enumerate(lines) if line.startswith("````"))

    outside = "\n".join(lines[:begin] + lines[end + 1 :])

    assert lines[begin + 1] == f"```{HOSTILE}"
    assert outside.count(r"\<script\>") == 14
    for syntax in ("<script", " `a", "a|b", "[c]", " *e", " _f", " $g"):
        assert syntax not in outside.replace(f"\\{syntax.strip()}", "")


def test_figures_are_aligned_to_the_right():
    """Columns of figures are aligned to the right in HTML and Markdown; text columns are not."""
    page = Page("t", "l", [Table(("a", "b", "c"), [("x", "1", "y")], text_columns=(0, 2))])

    assert '<td>x</td><td class="number">1</td><td>y</td>' in html_page.render(page)
    assert "| --- | ---: | --- |" in markdown_page.render(page)


def test_pictures_are_in_the_html_and_beside_the_markdown(page):
    """A picture is inline SVG in the HTML page, and a separate SVG file for Markdown."""
    html = html_page.render(page)

    files = markdown_page.pictures(page)

    assert '<svg viewBox="0 0 10 10" role="img"' in html
    drawn = minidom.parseString(files["pictures/empty.svg"])  # noqa: S318 - made above
    assert drawn.documentElement.tagName == "svg"
    assert "prefers-color-scheme: dark" in files["pictures/empty.svg"]


def test_a_picture_without_a_drawing_is_its_caption():
    """If a picture has no drawing, both pages show its caption, and no file is written."""
    page = Page("t", "l", [Gallery([Picture("none", missing("Loss", "nothing to draw"))])])

    files = markdown_page.pictures(page)

    assert "nothing to draw" in html_page.render(page)
    assert markdown_page.render(page).endswith("\n\nnothing to draw\n")
    assert files == {}


def test_a_table_of_facts_has_no_head_and_its_digests_may_break():
    """A table with empty heads has no <thead>, a digest is <code>, and `82 %` does not break."""
    page = Page("t", "l", [Table(("", ""), [("top-1", "82 %"), ("sha", "0f" * 32)], (0, 1))])

    html = html_page.render(page)

    assert "<thead>" not in html
    assert '<div class="scroll facts"' in html
    assert f"<td><code>{'0f' * 32}</code></td>" in html
    assert "82\N{NO-BREAK SPACE}%" in html


def test_navigation_leads_to_sections():
    """Each heading of level 2 has a link at the top of the page; lower headings have none."""
    html = html_page.render(Page("t", "l", [Heading("One"), Heading("part", 3), Heading("Two")]))

    for number, name in ((1, "One"), (2, "Two")):
        assert f'<a href="#section-{number}">{name}</a>' in html
        assert f'<h2 id="section-{number}">{name}</h2>' in html
    assert html.count("<a ") == 2
