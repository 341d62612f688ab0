import pytest
from matplotlib.figure import Figure

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
    """A page with every kind of block and a hostile text in every place that takes one."""
    picture = Picture("empty", HOSTILE, lambda: Figure(figsize=(1, 1)))
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
    """No text of a page becomes markup, wherever it stands, in attributes as well."""
    html = html_page.render(page)

    assert "<script" not in html
    assert 'alert("1")' not in html
    # Title twice, lead, navigation; nine blocks, two texts of the table and the fold, three of
    # the card.
    assert html.count("&lt;script&gt;") == 17


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
    """Columns of figures are marked in both languages, those of text are not."""
    page = Page("t", "l", [Table(("a", "b", "c"), [("x", "1", "y")], text_columns=(0, 2))])

    assert '<td>x</td><td class="figure">1</td><td>y</td>' in html_page.render(page)
    assert "| --- | ---: | --- |" in markdown_page.render(page)


def test_pictures_are_in_the_html_twice_and_beside_the_markdown(page, tmp_path):
    """A picture is drawn for light and for dark pages, and as a PNG file."""
    html = html_page.render(page)

    markdown_page.save_pictures(page, tmp_path)

    assert html.count("data:image/svg+xml;base64,") == 2
    assert (tmp_path / "pictures" / "empty.png").read_bytes().startswith(b"\x89PNG")


def test_navigation_leads_to_sections():
    """Each section of the page has a link at the top, parts of sections have none."""
    html = html_page.render(Page("t", "l", [Heading("One"), Heading("part", 3), Heading("Two")]))

    for number, name in ((1, "One"), (2, "Two")):
        assert f'<a href="#section-{number}">{name}</a>' in html
        assert f'<h2 id="section-{number}">{name}</h2>' in html
    assert html.count("<a ") == 2
